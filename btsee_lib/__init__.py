"""BTS-EE: boosted training of lightweight early exits, in small readable modules.

Data flow one way through them: ``data -> backbone -> branches -> features -> calibration -> schemes -> cost
-> cascade -> trees -> boosting -> evaluation -> studies -> deployment -> store -> plots -> pipeline``. A later
one may import an earlier one, never the reverse.
"""

import importlib.abc
import sys

__version__ = "0.1.0"


class _BeforeTorchvision(importlib.abc.MetaPathFinder):
    """Makes sure that torchvision can be imported, once someone asks for it: torch takes seconds to load."""

    def find_spec(self, name: str, *_: object) -> None:
        if name == "torchvision":
            sys.meta_path.remove(self)
            from btsee_lib import torchvision_schemas

            torchvision_schemas.declare()


sys.meta_path.insert(0, _BeforeTorchvision())
