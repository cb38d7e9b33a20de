"""BTS-EE: boosted training of lightweight early exits, in small readable modules.

Data flows one way through them: ``data -> backbone -> features -> branches -> calibration ->
cost -> cascade -> boosting -> evaluation -> plots``. A later module may import an earlier one,
never the reverse. Importing the package first makes sure that torchvision can be imported.
"""

from btsee_lib import torchvision_schemas

__version__ = "0.1.0"

torchvision_schemas.declare()
