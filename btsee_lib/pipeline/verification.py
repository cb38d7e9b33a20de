"""Set the claims of a run from scratch against the recorded ones: do the verdicts hold on this machine?"""

import sys
from pathlib import Path

import pandas as pd

from btsee_lib.compute import set_up_torch
from btsee_lib.experiment import current_experiment
from btsee_lib.pipeline.publishing import CLAIMS
from btsee_lib.store.reports import CONDITIONS, conditions, other_conditions


def compare(recorded: pd.DataFrame, here: pd.DataFrame) -> pd.DataFrame:
    """Compare two tables of claims (``claims.claims_table``), row by row.

    Returns
    -------
    DataFrame
        ``claim, recorded, here, tolerance`` (the width of the recorded interval), ``within`` it, and
        ``same_verdict``. A claim that one of the tables lacks has another verdict.
    """
    both = recorded.merge(here, on="claim", how="outer", suffixes=("", "_here"), sort=False)
    table = both[["claim", "measured", "measured_here"]].set_axis(["claim", "recorded", "here"], axis=1)
    tolerance, difference = both["high"] - both["low"], (table["here"] - table["recorded"]).abs()
    untestable = table["recorded"].isna() & table["here"].isna()
    within, same = (difference <= tolerance + 1e-9) | untestable, both["verdict"] == both["verdict_here"]
    return table.assign(tolerance=tolerance, within=within, same_verdict=same)


def verify(copy: str) -> None:
    """Print how the claims of this experiment in a copy of the repository compare; fail if a verdict differs.

    Parameters
    ----------
    copy : the folder of the copy in which everything has been run again.
    """
    experiment = current_experiment()
    place = experiment.reports.relative_to(experiment.root) / "tables" / CLAIMS
    table = compare(*(pd.read_csv(root / place) for root in (experiment.root, experiment.root / Path(copy))))
    print(table.to_string(index=False, float_format="%.2f"))
    others = table.loc[~table["same_verdict"], "claim"].tolist()
    if others:
        set_up_torch(0)  # as many threads as the notebooks have
        told = other_conditions(experiment.root / place.with_name(CONDITIONS), conditions())
        sys.exit(f"{len(others)} of {len(table)} verdicts differ on this machine: {'; '.join(others)}{told}")
    off = int((~table["within"]).sum())
    print(f"all {len(table)} verdicts are the same on this machine; {off} values lie outside their tolerance")
