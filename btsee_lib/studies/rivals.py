"""The simplest rival of a cascade: a narrower network that never stops early, at several widths."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from btsee_lib.config import EvaluationParameters
from btsee_lib.decisions import Decisions
from btsee_lib.evaluation import BTS_EE, CALIBRATION_ALONE, Cell, mean_over_seeds
from btsee_lib.studies.comparison import bootstrap, front_rows, gain, together, with_intervals

STATIC = Cell("static", "none")  # beside the cells of cascades
CASCADES = (BTS_EE, CALIBRATION_ALONE)


def packed(right: np.ndarray) -> str:
    """Write bool (N,) as hexadecimal digits, four images a digit."""
    return np.packbits(right).tobytes().hex()


def unpacked(digits: str, number: int) -> np.ndarray:
    """Read ``number`` images of what ``packed`` wrote."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(digits), np.uint8), count=number).astype(bool)


def decisions_of(networks: pd.DataFrame, cascades: Decisions) -> Decisions:
    """What narrower networks and the backbone decided on test, as if each were a cascade of one exit.

    Parameters
    ----------
    networks : a row a network, ``width, macs`` (of one image) and ``right`` (``packed``).
    cascades : of the same images. A network was trained once, so it stands there for each of their seeds.
    """
    backbone, rows = cascades.backbone_correct, []
    right = [*(unpacked(digits, len(backbone)) for digits in networks["right"]), backbone]
    macs = [*networks["macs"], cascades.backbone_cost]
    seeds = cascades.table["seed"].unique()
    for seed in seeds:
        for each, cost in zip(right, macs, strict=True):
            drop = 100 * (backbone.mean() - each.mean())
            names = {"seed": seed, **STATIC._asdict(), "macs": cost}
            rows.append(names | {"accuracy": each.mean(), "drop": drop, "reduction": 1 - cost / macs[-1]})
    return Decisions(
        table=pd.DataFrame(rows),
        correct=np.tile(right, (len(seeds), 1)),
        cost=np.tile(np.repeat(np.array(macs, np.float32)[:, None], len(backbone), 1), (len(seeds), 1)),
        backbone_correct=backbone,
        backbone_cost=cascades.backbone_cost,
    )


class Beside(NamedTuple):
    """Cascades and narrower networks beside each other.

    ``curves``: the members of the fronts of the cascades, and the networks, with intervals and ``width``;
    ``gains``: ``training, calibration`` of the cascades and the columns of ``comparison.gain``.
    """

    curves: pd.DataFrame
    gains: pd.DataFrame


def beside_networks(networks: pd.DataFrame, cascades: Decisions, parameters: EvaluationParameters) -> Beside:
    """Set fronts of cascades beside the line that joins the networks, from the same draws of images."""
    alone = decisions_of(networks, cascades)
    (averaged, drawn), static = (
        (mean_over_seeds(each.table), bootstrap(each, parameters.resamples, parameters.seed))
        for each in (cascades, alone)
    )
    every, drawn_of_all = together((averaged, drawn), static)
    line = every.index[every["training"] == STATIC.training].to_numpy()
    members = dict(zip(CASCADES, front_rows(averaged, *CASCADES), strict=True))
    gains = [
        gain(every, drawn_of_all, line, rows, parameters.confidence).assign(**cell._asdict())
        for cell, rows in members.items()
    ]
    drawn_rows = np.concatenate([*members.values(), line])
    curves = with_intervals(every, drawn_of_all, parameters.confidence).loc[drawn_rows]
    widths = dict(zip(networks["macs"], networks["width"], strict=True))
    return Beside(curves.assign(width=curves["macs"].map(widths)), pd.concat(gains, ignore_index=True))
