"""What a notebook leaves behind: tables, figures with a description, and numbers to compare with.

Run by the pipeline, a notebook writes into ``artifacts/reports/NOTEBOOK/``, and from there
``btsee_lib.pipeline`` publishes into ``reports/``. Run by hand or by a check it writes into
``artifacts/scratch/NOTEBOOK/``: opening a notebook never changes what is published.
"""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from IPython.display import display
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from btsee_lib.config import params
from btsee_lib.experiment import RECORDING, current_experiment
from btsee_lib.store.artefacts import folder_of
from btsee_lib.store.tables import read_table, read_tables, write_whole

METRICS = "metrics.json"
CONDITIONS = "conditions.csv"  # in reports/tables: those under which the results were published
HOLDS, HOLDS_NOT = "holds", "does NOT hold here"  # before a sentence


class Report:
    """The tables and numbers of one notebook, for example ``Report("02_backbone")``.

    Parameters
    ----------
    notebook : its name.
    written_for : the data set that its sentences are about; a run on another one says so.
    """

    def __init__(self, notebook: str, written_for: str = "fashion-mnist"):
        data_set = params("data").name
        if data_set != written_for:
            print(f"This run is on {data_set}. The sentences between the cells are about {written_for}.")
        self.recording = os.environ.get(RECORDING) == "1"
        self.folder = folder_of("reports" if self.recording else "scratch") / notebook
        self.folder.mkdir(parents=True, exist_ok=True)
        self._numbers: dict[str, float | None] = {}

    def table(self, table: pd.DataFrame, name: str) -> pd.DataFrame:
        """Write a table as ``NAME.csv``, six significant digits, and return it as written."""
        path = self.folder / f"{name}.csv"
        write_whole(path, table.to_csv(index=False, float_format="%.6g"))
        return read_table(path)

    def number(self, name: str, value: float) -> None:
        """Note a number; the pipeline merges those of all notebooks into ``reports/metrics.json``."""
        self._numbers[name] = _rounded(value)
        write_whole(self.folder / METRICS, json.dumps(self._numbers, indent=1, sort_keys=True) + "\n")

    def numbers_so_far(self) -> dict[str, float | None]:
        """Return the numbers that this notebook and the earlier ones noted."""
        if self.recording:
            return read_numbers(folder_of("reports")) | self._numbers
        # By hand, what is published stands in for notebooks that have not run here; and what the pipeline
        # recorded overrules what an older trial has left.
        origins = [read_numbers(folder_of(origin)) for origin in ("scratch", "reports")]
        return published_numbers() | origins[0] | origins[1] | self._numbers

    def expect(self, name: str, value: float, within: float, unit: str = "") -> None:
        """Print whether a measured number agrees with the recorded one.

        Parameters
        ----------
        name : as in ``reports/metrics.json``.
        within : how far from the recorded value a run on another machine may be; 0 for exact counts.
        unit : printed behind the numbers.

        The sentence is the same wherever the value agrees, and another one where it does not:
        then the stored output of the cell no longer fits, and nbval fails.
        """
        self.number(name, value)
        recorded = self._numbers[name] if self.recording else published_numbers().get(name)
        unit = f" {unit}" if unit else ""
        if recorded is None and not np.isfinite(value):
            print(f"{name}: has no value")
        elif recorded is None:
            print(f"{name}: no value is recorded, this run has {value:.4g}{unit}")
        elif within == 0 and value == recorded:
            print(f"{name}: {recorded:,}{unit}, as recorded")
        # The recorded value has six digits, so an equal one may differ from it by half of the last.
        elif within > 0 and abs(value - recorded) <= within + 1e-5 * abs(recorded):  # nan agrees with nothing
            print(f"{name}: within {within:g}{unit} of {recorded:.4g}{unit}")
        else:
            print(
                f"{name}: {value:.4g}{unit} is NOT within {within:g}{unit} of the recorded {recorded:.4g}{unit}"
                + other_conditions(current_experiment().reports / "tables" / CONDITIONS, conditions())
            )

    def holds(self, sentence: str, condition: bool) -> None:
        """Print whether a sentence of the notebook is true of this run.

        Parameters
        ----------
        sentence : what the text beside it claims of the outputs.
        condition : the same, worked out from them.

        As with ``expect`` another outcome is another output, so nbval fails; and no result is published for
        the data set that the sentences are about while one of them is untrue (a test reads the outputs).
        """
        print(f"{HOLDS if condition else HOLDS_NOT}: {sentence}")


def conditions() -> dict[str, str]:
    """What moves the last digits of results, besides code and parameters: threads, and instructions in use."""
    return {"threads": str(torch.get_num_threads()), "instructions": torch.backends.cpu.get_cpu_capability()}


def other_conditions(recorded: Path, here: dict[str, str]) -> str:
    """Tell which conditions differ from those in a table ``name, value``; nothing where none does."""
    if not recorded.is_file():
        return ""
    found = dict(pd.read_csv(recorded, dtype=str).to_numpy().tolist())
    others = [f"{name} {found[name]}, here {here[name]}" for name in found if found[name] != here.get(name)]
    return f" (recorded with {'; '.join(others)})" if others else ""


def published_numbers() -> dict[str, float | None]:
    """Return the numbers in git of this experiment; none where it has no results yet."""
    return _merged(sorted(current_experiment().reports.glob("metrics*.json")))


def read_numbers(folder: Path, names: Sequence[str] | None = None) -> dict[str, float | None]:
    """Merge the numbers of the notebooks whose results lie in ``folder``: of some, by name, or of all."""
    paths = sorted(folder.glob(f"*/{METRICS}"))
    return _merged(path for path in paths if names is None or path.parent.name in names)


def _merged(paths: Iterable[Path]) -> dict[str, float | None]:
    return {name: value for path in paths for name, value in json.loads(path.read_text()).items()}


def made_table(notebook: str, name: str) -> pd.DataFrame:
    """Read a table that an earlier notebook made; the published one where it has not run here."""
    path = folder_of("reports") / notebook / f"{name}.csv"
    return read_table(path if path.is_file() else current_experiment().reports / "tables" / f"{name}.csv")


def made_model(notebook: str) -> Path:
    """Return the folder of an earlier notebook's model; the published one where it has not run here."""
    path = folder_of("reports") / notebook / "model"
    return path if path.is_dir() else current_experiment().reports / "model"


def claims_of_profiles() -> dict[str, pd.DataFrame]:
    """Read the claims of all profiles that have results, by the profile's name; none in a profile itself."""
    experiment = current_experiment()
    return {} if experiment.profile else read_tables(experiment.root / "reports" / "experiments")


def _rounded(value: float) -> float | None:
    if not np.isfinite(value):
        return None
    return int(value) if float(value).is_integer() else float(f"{float(value):.6g}")


def show(figure: Figure, description: str) -> None:
    """Display a figure with a description for those who cannot see it."""
    display(figure, metadata={"image/png": {"alt": description}})
    plt.close(figure)
