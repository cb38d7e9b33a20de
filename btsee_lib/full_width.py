"""The pipeline at full width on a GPU, in a repository of its own inside this one.

``artifacts/full_width/`` gets the notebooks, the merged parameters and a ``dvc.yaml``, which makes it
a root: the same notebooks run there through the same functions, and nothing of the small run is
touched. Its tables go to ``reports/full_width/``. Without a GPU nothing is run and nothing is
overwritten.
"""

import contextlib
import os
import platform
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
import yaml

from btsee_lib.config import repository_root
from btsee_lib.pipeline.profiles import read_profile

PROFILE = "full_width"
NOTEBOOKS = ("01_data", "02_backbone", "03_boosted_branches", "04_class_precision_margin", "05_evaluation")


def gpu_name() -> str | None:
    """Name of the GPU that the work would run on, or None where there is none."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def run_full_width(run: Callable[[str], None], device: str | None) -> None:
    """Run notebooks 01 to 05 with the profile and publish their tables, or say why not.

    Parameters
    ----------
    run : executes a notebook of the repository that is the working directory.
    device : name of the GPU; None skips everything.
    """
    if device is None:
        print("full_width: skipped, there is no CUDA device here; reports/full_width stays as it is")
        (repository_root() / "reports" / PROFILE).mkdir(parents=True, exist_ok=True)  # DVC asks for its out
        return
    root = prepare_root()
    started = time.perf_counter()
    with contextlib.chdir(root):
        for name in NOTEBOOKS:
            run(name)
    seconds = time.perf_counter() - started
    about = {
        "device": device,
        "data_set": read_profile(PROFILE)[1]["data"]["name"],
        "seconds": round(seconds),
        "cpu_cores": os.cpu_count(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    publish(root, pd.DataFrame(about.items(), columns=["what", "value"]))


def prepare_root() -> Path:
    """Make the repository inside the repository; results that lie there already stay."""
    ours = repository_root()
    root = ours / "artifacts" / PROFILE
    root.mkdir(parents=True, exist_ok=True)
    (root / "params.yaml").write_text(yaml.safe_dump(read_profile(PROFILE)[1], sort_keys=False))
    shutil.copyfile(ours / "dvc.yaml", root / "dvc.yaml")
    shutil.copytree(ours / "notebooks", root / "notebooks", dirs_exist_ok=True)
    (ours / "data").mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (root / "data").symlink_to(Path("..", "..", "data"))
    return root


def publish(root: Path, device: pd.DataFrame) -> None:
    """Replace the tables in ``reports/full_width`` by those of a finished run, with the device named."""
    target = repository_root() / "reports" / PROFILE
    made = root / "artifacts" / "reports"
    for old in [*target.glob("*.csv"), *target.glob("*.ipynb")]:
        old.unlink()
    target.mkdir(parents=True, exist_ok=True)
    for table in sorted(made.glob("*/*.csv")):
        shutil.copyfile(table, target / table.name)
    shutil.copyfile(made / NOTEBOOKS[-1] / f"{NOTEBOOKS[-1]}.ipynb", target / f"{NOTEBOOKS[-1]}.ipynb")
    device.to_csv(target / "device.csv", index=False)


def read_tables() -> dict[str, pd.DataFrame]:
    """Read the tables of ``reports/full_width`` by name; none where no GPU has made them."""
    folder = repository_root() / "reports" / PROFILE
    return {path.stem: pd.read_csv(path) for path in sorted(folder.glob("*.csv"))}
