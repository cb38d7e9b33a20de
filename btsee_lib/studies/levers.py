"""Which single choice moves a cascade most, one thing changed at a time?"""

import pandas as pd

from btsee_lib.calibration import SURVIVORS
from btsee_lib.config import EvaluationParameters
from btsee_lib.decisions import Decisions
from btsee_lib.evaluation import BASELINE, CALIBRATION_ALONE, Cell
from btsee_lib.schemes.scheme import Head, Scheme
from btsee_lib.studies.comparison import averaged_and_drawn
from btsee_lib.studies.other_ways import GAIN, RIVAL, gain_over

SHORT = "a quarter of the visits"  # the least of ``effort.EFFORTS``


def other_levers(decisions: Decisions, parameters: EvaluationParameters) -> pd.DataFrame:
    """What else than schemes and rules changes a cascade: fewer visits, and calibration on all images.

    Parameters
    ----------
    decisions : of independent branches, and of those of ``SHORT``, with both calibrations.

    Returns
    -------
    DataFrame
        ``lever, choice``, and what the choice gains over the rival at equal compute: ``gain`` (points),
        ``gain_low, gain_high``.
    """
    averaged, drawn = averaged_and_drawn(parameters, decisions)
    cells = {("visits", SHORT): Cell(SHORT, SURVIVORS), ("calibration", "on all images"): BASELINE}
    rows = [
        {"lever": lever, "choice": choice}
        | gain_over(averaged, drawn, cell, CALIBRATION_ALONE, parameters.confidence)
        for (lever, choice), cell in cells.items()
    ]
    return pd.DataFrame(rows)


def levers(tables: dict[str, pd.DataFrame], schemes: dict[str, Scheme]) -> pd.DataFrame:
    """Every choice that differs in one thing alone from independent branches under CPM, and what it gains.

    A rule is set against CPM on the branches behind the middle rung.

    Parameters
    ----------
    tables : ``standings`` and ``offers``, see ``other_ways``, and ``levers``, see ``other_levers``.
    schemes : by their names.

    Returns
    -------
    DataFrame
        The columns of ``other_levers``.
    """
    rows = []
    for row in tables["standings"].drop_duplicates("training").to_dict("records"):
        scheme = schemes[row["training"]]
        changed = [scheme.head is not Head, type(scheme) is not Scheme]
        if sum(changed) == 1:
            lever = "exit head" if changed[0] else "training samples"
            rows.append({"lever": lever, "choice": row["training"]} | {name: row[name] for name in GAIN})
    rules = tables["offers"][tables["offers"]["training"] == RIVAL.training].drop_duplicates("rule")
    rules = rules[rules["rule"] != RIVAL.calibration].rename(columns={"rule": "choice"})
    rules = rules.assign(lever="exit rule")[["lever", "choice", *GAIN]]
    return pd.concat([tables["levers"], pd.DataFrame(rows), rules], ignore_index=True)
