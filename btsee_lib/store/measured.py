"""Results that are made by hand, since they take long, and kept in git: ``reports/measured``."""

from pathlib import Path

import pandas as pd

from btsee_lib.config import params
from btsee_lib.data.splits import Splits
from btsee_lib.disk import replace_folder
from btsee_lib.errors import ArtefactError
from btsee_lib.experiment import current_experiment
from btsee_lib.store.artefacts import kept
from btsee_lib.store.backbone_artefact import recipe
from btsee_lib.store.tables import read_table, read_tables

MEASURED = ("reports", "measured")
COMPARISONS = {"other_ways": "make schemes", "fewer_images": "make fewer-images", "joint": "make joint"}
BACKBONES = "backbones.csv"  # the claims on other backbones of this experiment, see ``kept``


def measured_table(name: str) -> pd.DataFrame:
    """Read a table of measurements that are made by hand and kept, ``reports/measured/NAME.csv``."""
    return read_table(current_experiment().root.joinpath(*MEASURED) / f"{name}.csv")


def made_here(path: Path, columns: list[str], splits: Splits) -> pd.DataFrame:
    """Read a table that was measured in this experiment, with the recipe of its backbone in ``made_from``.

    Without rows, but with the ``columns``, where there is none; and without those of another recipe.
    """
    found = read_table(path) if path.is_file() else pd.DataFrame(columns=columns)
    return found[found["made_from"] == recipe(splits)]


def measured_backbones(splits: Splits) -> pd.DataFrame:
    """Read the claims on other backbones: ``claims.claims_table`` for each ``backbone_seed``.

    Without rows where there are none, or where the backbone is now made from something else.
    """
    return made_here(kept(BACKBONES), ["backbone_seed", "made_from"], splits).drop(columns="made_from")


def keep_comparison(name: str, tables: dict[str, pd.DataFrame]) -> Path:
    """Write the tables of a comparison in this experiment to where ``measured_comparison`` reads them."""

    def write(folder: Path) -> None:
        for table, rows in tables.items():
            rows.to_csv(folder / f"{table}.csv", index=False, float_format="%.6g")

    where = Path(*MEASURED, name, shown_as())
    replace_folder(current_experiment().root / where, write)
    return where


def shown_as() -> str:
    """What this experiment is called in a comparison: a profile by its name, the main one by its data set."""
    return current_experiment().profile or params("data").name


def measured_comparison(name: str) -> dict[str, dict[str, pd.DataFrame]]:
    """Read the tables of a comparison that is made by hand and kept, for each experiment that has them.

    They are ``reports/measured/NAME/EXPERIMENT/TABLE.csv``, see ``shown_as``; ``COMPARISONS`` tells what makes
    them.

    Raises
    ------
    ArtefactError
        If no experiment has them.
    """
    where = Path(*MEASURED, name)
    folders = sorted((current_experiment().root / where).glob("[!.]*/"))
    if not folders:
        raise ArtefactError(f"{where} holds no results: run '{COMPARISONS[name]}'")
    return {folder.name: read_tables(folder) for folder in folders}
