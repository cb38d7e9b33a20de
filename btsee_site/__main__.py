"""Write ``site/``: a problem that has a remedy ends in its sentence, without a trace."""

import sys

from btsee_lib.errors import ArtefactError, DataError, ParameterError
from btsee_site.site import write_site

try:
    write_site()
except (ArtefactError, DataError, ParameterError, OSError) as problem:
    sys.exit(f"error: {problem}")
