"""The results as pages that open from disk: ``python -m btsee_site``. The library needs none of it."""
