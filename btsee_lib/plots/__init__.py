"""One function a figure, one module a notebook; importing them puts each figure into the table ``FIGURES``."""

from btsee_lib.plots import (
    backbone,
    branches,
    data,
    deployment,
    evaluation,
    journey,
    margins,
    pictures,
    scaling,
    schematic,
    schemes,
)
from btsee_lib.plots.style import FIGURES
