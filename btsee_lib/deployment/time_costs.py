"""What stages and branches cost in time: when a branch pays, and what a budget of milliseconds buys."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from btsee_lib.calibration import SURVIVORS
from btsee_lib.config import BoostingParameters
from btsee_lib.cost import CostModel
from btsee_lib.evaluation import evaluate_configurations, mean_over_seeds
from btsee_lib.features import Features
from btsee_lib.trees import BranchTree, margin_columns


def cost_of_parts(by_exit: pd.DataFrame, column: str) -> CostModel:
    """What stages and branches cost, from what exits cost with and without branches on the way.

    Parameters
    ----------
    by_exit : ``exit, branches`` and ``column`` of one network (``measurements.exit_times``).
    column : the cost, ``milliseconds`` or ``macs``.

    Returns
    -------
    CostModel
        In the unit of the column. A branch costs what the last exit costs with it less what it costs
        without, and a stage what an exit costs beyond the one before it, less its branch.
    """
    costs = by_exit.set_index(["exit", "branches"])[column]
    last, number = by_exit["exit"].max(), by_exit["branches"].max()
    branches = [costs[last, b] - costs[last, b - 1] for b in range(1, number + 1)]
    leaving = [costs[b, b] for b in range(1, number + 1)] + [costs[last, number]]
    stages = np.diff(leaving, prepend=0) - [*branches, 0]
    return CostModel(tuple(stages.tolist()), tuple(each.item() for each in branches))


def break_even(cost: CostModel) -> list[float]:
    """For each branch, the share of those that reach it that must leave there to pay for it.

    A branch b costs c_b for all that reach it, and saves the stages behind it for those that leave:
    the share is c_b / (s_{b+1} + ... + s_{B+1}). Later branches are left out of the account.
    """
    return [each / sum(cost.stages[number:]) for number, each in enumerate(cost.branches, start=1)]


def configuration_times(
    trees: Iterable[BranchTree], features: Features, times: CostModel, parameters: BoostingParameters
) -> pd.DataFrame:
    """Mean time and drop of all configurations, from what stages and branches take.

    Parameters
    ----------
    trees : the trained branches of one scheme, a tree a seed.
    times : milliseconds, from ``cost_of_parts``.

    Returns
    -------
    DataFrame
        ``m1, m2, ..., accuracy`` and ``drop`` (points) on test; ``milliseconds`` (mean of an image)
        and ``valid_drop`` on valid; all are means over the seeds.
    """
    decisions = evaluate_configurations(trees, features, times, parameters, calibrations=[SURVIVORS])
    averaged = mean_over_seeds(decisions.table)
    averaged["milliseconds"] = (1 - averaged["valid_reduction"]) * times.backbone
    return averaged[[*margin_columns(averaged), "accuracy", "drop", "milliseconds", "valid_drop"]]
