"""All figures by the names of their tables: importing the modules below registers what they draw."""

from btsee_lib.plots import backbone as plots_backbone
from btsee_lib.plots import branches as plots_branches
from btsee_lib.plots import data as plots_data
from btsee_lib.plots import deployment as plots_deployment
from btsee_lib.plots import evaluation as plots_evaluation
from btsee_lib.plots import margins as plots_margins
from btsee_lib.plots import scaling as plots_scaling
from btsee_lib.plots import style as plots

MODULES = (
    plots_data,
    plots_backbone,
    plots_branches,
    plots_margins,
    plots_evaluation,
    plots_deployment,
    plots_scaling,
)
FIGURES = plots.FIGURES
