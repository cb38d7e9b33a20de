"""Publish what notebooks made: executed notebooks, tables, the figures drawn from them, numbers, the model."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt

from btsee_lib.compute import set_up_torch
from btsee_lib.experiment import current_experiment
from btsee_lib.pipeline.notebooks import source_of, sources
from btsee_lib.plots import FIGURES
from btsee_lib.store.artefacts import folder_of
from btsee_lib.store.reports import CONDITIONS, METRICS, conditions, read_numbers
from btsee_lib.store.tables import read_table, write_whole

APART = ("08_paper_scale", "10_time")  # of one machine: their numbers have a file of their own
CLAIMS = "claims.csv"


def publish(names: Sequence[str] = ()) -> None:
    """Publish the results of some notebooks, by default of all that have run.

    Raises
    ------
    ParameterError
        If there is no notebook of such a name.
    """
    for name in names:
        source_of(name)
    chosen = names or [name for name in sources() if (folder_of("reports") / name).is_dir()]
    for name in chosen:
        _publish_notebook(folder_of("reports") / name)
    for apart in names or APART:
        _write_numbers([apart], f"metrics_{apart}.json")
    if not names:
        _write_numbers([name for name in chosen if name not in APART], METRICS)
        _write_conditions()
    share_claims()


def _publish_notebook(source: Path) -> None:
    target = current_experiment().reports
    for folder in ("notebooks", "tables", "figures"):
        (target / folder).mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / f"{source.name}.ipynb", target / "notebooks" / f"{source.name}.ipynb")
    for table in sorted(source.glob("*.csv")):
        shutil.copyfile(table, target / "tables" / table.name)
        draw(table.stem)
    if (source / "model").is_dir():
        shutil.rmtree(target / "model", ignore_errors=True)
        shutil.copytree(source / "model", target / "model")


def _write_numbers(names: Sequence[str], file: str) -> None:
    if numbers := read_numbers(folder_of("reports"), names):
        text = json.dumps(numbers, indent=1, sort_keys=True) + "\n"
        (current_experiment().reports / file).write_text(text)


def _write_conditions() -> None:
    """Note the threads that the notebooks had, and the instructions, for whoever finds other numbers."""
    set_up_torch(0)
    table = pd.DataFrame(list(conditions().items()), columns=["name", "value"])
    tables = current_experiment().reports / "tables"
    tables.mkdir(parents=True, exist_ok=True)
    write_whole(tables / CONDITIONS, table.to_csv(index=False))


def share_claims() -> None:
    """Lay the claims of a profile where the main experiment finds them.

    The copy is no out of any stage: an out would be an arrow from the main pipeline to the profile's, and
    ``dvc repro`` in the root would start it.
    """
    experiment = current_experiment()
    claims = experiment.reports / "tables" / CLAIMS
    if experiment.profile and claims.is_file():
        shared = experiment.root / "reports" / "experiments"
        shared.mkdir(exist_ok=True)
        shutil.copyfile(claims, shared / f"{experiment.profile}.csv")


def draw(table: str) -> bool:
    """Draw ``figures/TABLE.png`` from ``tables/TABLE.csv``, if it has a figure."""
    if table not in FIGURES:
        return False
    reports = current_experiment().reports
    figure = FIGURES[table](read_table(reports / "tables" / f"{table}.csv"))
    (reports / "figures").mkdir(exist_ok=True)
    # No software version or date in the file: equal tables give equal bytes.
    figure.savefig(reports / "figures" / f"{table}.png", metadata={"Software": None})
    plt.close(figure)
    return True


def draw_all() -> None:
    """Draw every figure again from the published tables."""
    tables = sorted((current_experiment().reports / "tables").glob("*.csv"))
    drawn = [path.stem for path in tables if draw(path.stem)]
    print(f"drew {len(drawn)} figures: {', '.join(drawn)}")
