"""BTS-EE: boosted training of lightweight early exits, in small readable modules.

Data flows one way through them: ``data -> backbone -> features -> branches -> calibration ->
cost -> cascade -> boosting -> evaluation -> plots``. A later module may import an earlier one,
never the reverse. Importing the package first makes sure that torchvision can be imported.
"""

import importlib.util

__version__ = "0.1.0"

if importlib.util.find_spec("torch") is not None:  # onnx_runner does without
    from btsee_lib import torchvision_schemas

    torchvision_schemas.declare()
