"""One function a figure, one module a notebook; importing them puts each figure into the table ``FIGURES``."""

import btsee_lib.plots.journey
import btsee_lib.plots.pictures
import btsee_lib.plots.schematic
from btsee_lib.plots import backbone, branches, data, deployment, evaluation, margins, scaling, schemes
from btsee_lib.plots.style import FIGURES
