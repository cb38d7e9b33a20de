"""The simplest rival of a cascade: a narrower network that never stops early, at several widths."""

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd

from btsee_lib.config import EvaluationParameters
from btsee_lib.decisions import Decisions
from btsee_lib.evaluation import BTS_EE, CALIBRATION_ALONE, Cell
from btsee_lib.studies.comparison import Resamples, averaged_and_drawn, front_rows, gain
from btsee_lib.studies.other_ways import best_offers, in_cells, of_middle_drop

STATIC = Cell("static", "none")  # beside the cells of cascades
CASCADES = (BTS_EE, CALIBRATION_ALONE)
HALF = 0.5  # of the computation: up to where gains are averaged


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


def beside_networks(
    networks: pd.DataFrame, cascades: Decisions, parameters: EvaluationParameters
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Set fronts of cascades beside the line that joins the networks, from the same draws of images.

    Returns
    -------
    curves : the members of the fronts, and the networks, with intervals and ``width``.
    gains : ``training, calibration`` and the columns of ``comparison.gain``.
    """
    every, drawn, line, fronts = _with_networks(networks, cascades, parameters, CASCADES)
    gains = [
        gain(every, drawn, line, front, parameters.confidence).assign(**cell._asdict())
        for cell, front in fronts.items()
    ]
    curves = every.loc[np.concatenate([*fronts.values(), line])]
    widths = dict(zip(networks["macs"], networks["width"], strict=True))
    return curves.assign(width=curves["macs"].map(widths)), pd.concat(gains, ignore_index=True)


def _with_networks(
    networks: pd.DataFrame, cascades: Decisions, parameters: EvaluationParameters, cells: Sequence[Cell]
) -> tuple[pd.DataFrame, Resamples, np.ndarray, dict[Cell, np.ndarray]]:
    """Averages and draws of all; positions of the rows of the networks' line, and of each cell's front."""
    every, drawn = averaged_and_drawn(parameters, cascades, decisions_of(networks, cascades))
    line = every.index[every["training"] == STATIC.training].to_numpy()
    return every, drawn, line, dict(zip(cells, front_rows(every, *cells), strict=True))


def against_networks(
    under_rules: Decisions, offered: pd.DataFrame, networks: pd.DataFrame, parameters: EvaluationParameters
) -> pd.DataFrame:
    """What schemes under rules gain at equal computation over the line that joins networks and backbone.

    The scheme and the rule that save most on valid for the middle one of the allowed drops; and beside them
    independent branches, the paper's, and CPM: each scheme under each rule, so that the two are told apart.

    Parameters
    ----------
    under_rules, offered : of ``other_ways.under_rules`` and ``other_ways.offers``.
    networks : a row a network: ``width, macs, right``.

    Returns
    -------
    DataFrame
        ``training, rule``, the best ones first and the paper's last, and the columns of ``comparison.gain``,
        from where a network was trained and all these cascades are. Rows with a nan reduction are means from
        there, over all that is saved and ``up_to`` ``HALF``. No rows if there are no ``networks``.
    """
    if networks.empty:
        return pd.DataFrame(columns=["reduction", "gain", "low", "high", "training", "rule", "up_to"])
    best = best_offers(of_middle_drop(offered)).iloc[0]
    others = dict.fromkeys([best["training"], CALIBRATION_ALONE.training])
    schemes = [*(name for name in others if name != BTS_EE.training), BTS_EE.training]
    cells = [Cell(*pair) for pair in itertools.product(schemes, dict.fromkeys([best["rule"], "CPM"]))]
    every, drawn, line, fronts = _with_networks(networks, in_cells(under_rules), parameters, cells)
    widest = 1 - networks["macs"].max() / under_rules.backbone_cost
    least, parts = max(widest, *(every.loc[each, "reduction"].min() for each in fronts.values())), []
    for cell, front in fronts.items():
        for up_to, rows in ((1.0, slice(None)), (HALF, slice(-1, None))):
            told = gain(every, drawn, line, front, parameters.confidence, within=(least, up_to)).iloc[rows]
            parts.append(told.assign(training=cell.training, rule=cell.calibration, up_to=up_to))
    return pd.concat(parts, ignore_index=True)
