"""What does freezing the backbone cost? A network trained jointly beside branches on a frozen backbone."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from btsee_lib.calibration import SURVIVORS
from btsee_lib.config import EvaluationParameters
from btsee_lib.data.splits import Splits
from btsee_lib.decisions import Decisions
from btsee_lib.evaluation import CALIBRATION_ALONE, Cell
from btsee_lib.features import Features, SplitFeatures
from btsee_lib.studies.comparison import averaged_and_drawn, front_rows, gain
from btsee_lib.trees import BranchTree, TrainedBranch, tree_of
from btsee_lib.uncertainty import image_weights, interval

JOINT = Cell("joint", SURVIVORS)


def as_cascade(logits: dict[str, Tensor], splits: Splits, seed: int) -> tuple[BranchTree, Features]:
    """Bring what a joint network answers into the form of branches and of a backbone behind them."""
    sizes = len(splits.train), len(splits.valid)
    branches = [
        TrainedBranch(number, (), *sizes, False, {}, {name: each[number - 1] for name, each in logits.items()})
        for number in range(1, len(logits["valid"]))
    ]
    own = {name: SplitFeatures((), each[-1], getattr(splits, name).labels) for name, each in logits.items()}
    return tree_of(JOINT.training, seed, branches), own


def against(decisions: Decisions, backbone_correct: np.ndarray) -> Decisions:
    """Return decisions with their drops taken from another backbone, that of the cascades beside them."""
    drop = 100 * (backbone_correct.mean() - decisions.table["accuracy"])
    return replace(decisions, table=decisions.table.assign(drop=drop), backbone_correct=backbone_correct)


def fronts_beside(
    frozen: Decisions, joint: Decisions, parameters: EvaluationParameters
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Set the front of the joint network beside that of independent branches on a frozen backbone.

    Returns
    -------
    curves : the members of both fronts, with intervals; drops are those from the frozen backbone.
    gains : what the joint network gains, see ``comparison.gain``; the seeds of the branches are drawn too.
    """
    every, drawn = averaged_and_drawn(parameters, frozen, against(joint, frozen.backbone_correct))
    members = front_rows(every, CALIBRATION_ALONE, JOINT)
    return every.loc[np.concatenate(members)], gain(every, drawn, *members, parameters.confidence)


def exits_beside(
    frozen: Iterable[Tensor], joint: Tensor, labels: Tensor, parameters: EvaluationParameters
) -> pd.DataFrame:
    """Accuracy of every exit on all test images.

    Parameters
    ----------
    frozen : the logits of the exits, (E, N, K) for each seed.
    joint : (E, N, K).

    Returns
    -------
    DataFrame
        ``exit, frozen, joint`` (shares), and ``gain, low, high`` in points, paired over images.
    """
    right = torch.stack([(each.argmax(-1) == labels).double() for each in frozen]).mean(0).numpy()
    right_jointly = (joint.argmax(-1) == labels).double().numpy()
    difference = 100 * (right_jointly - right)
    weights = image_weights(len(labels), parameters.resamples, parameters.seed) / len(labels)
    low, high = interval(weights @ difference.T, parameters.confidence)
    exits = {"exit": range(1, len(joint) + 1), "frozen": right.mean(1), "joint": right_jointly.mean(1)}
    return pd.DataFrame(exits).assign(gain=difference.mean(1), low=low, high=high)
