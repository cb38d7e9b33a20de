"""All figures by the names of their tables: importing the modules below registers what they draw."""

from btsee_lib import (
    plots,
    plots_backbone,
    plots_branches,
    plots_data,
    plots_deployment,
    plots_evaluation,
    plots_industrial,
    plots_margins,
    plots_scaling,
)

MODULES = (
    plots_data,
    plots_backbone,
    plots_branches,
    plots_margins,
    plots_evaluation,
    plots_deployment,
    plots_industrial,
    plots_scaling,
)
FIGURES = plots.FIGURES
