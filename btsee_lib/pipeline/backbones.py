"""The notebooks on other backbones: does a verdict rest on more than the one that all else was made with?

Whatever holds ``dvc.yaml`` and ``params.yaml`` is an experiment. So another backbone is one more folder, with
another seed among its parameters, in which the same notebooks run.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import yaml

from btsee_lib.config import params, read_yaml
from btsee_lib.experiment import current_experiment
from btsee_lib.pipeline.publishing import CLAIMS
from btsee_lib.store.backbone_artefact import recipe
from btsee_lib.store.measured import backbones_file
from btsee_lib.store.results import load_data
from btsee_lib.studies.claims import REPRODUCED

OTHERS = 4  # backbones beside the experiment's own
NOTEBOOKS = ("02_backbone", "03_boosted_branches", "04_class_precision_margin", "05_evaluation")


def measure_backbones() -> None:
    """Run the notebooks up to the claims on backbones of the next seeds, and keep what they say in git.

    The table is written anew after each backbone. What has been trained is not trained again.
    """
    made_from, tables = recipe(load_data()), []
    own = params("backbone").seed
    for seed in range(own + 1, own + 1 + OTHERS):
        home = _experiment_of(seed)
        command = [sys.executable, "-m", "btsee_lib.pipeline", "run", *NOTEBOOKS]
        subprocess.run(command, cwd=home, check=True)
        claims = pd.read_csv(home / "artifacts" / "reports" / NOTEBOOKS[-1] / CLAIMS)
        tables.append(claims.assign(backbone_seed=seed, made_from=made_from))
        backbones_file().parent.mkdir(parents=True, exist_ok=True)
        pd.concat(tables).to_csv(backbones_file(), index=False)
        holds = int((claims["verdict"] == REPRODUCED).sum())
        print(f"backbone of seed {seed}: {holds} of {len(claims)} readings hold", flush=True)


def _experiment_of(seed: int) -> Path:
    """Write the experiment that differs in the seed of its backbone, and return its folder."""
    experiment = current_experiment()
    home = experiment.artifacts / "backbones" / f"seed_{seed}"
    home.mkdir(parents=True, exist_ok=True)
    sections = read_yaml(experiment.parameters)
    sections["backbone"]["seed"] = seed
    if sections["data"]["path"]:
        sections["data"]["path"] = str(experiment.root / Path(sections["data"]["path"]).expanduser())
    (home / "params.yaml").write_text(yaml.safe_dump(sections))
    (home / "dvc.yaml").touch()
    # Copied and not linked: the folder that a kernel starts in tells which experiment is meant.
    shutil.copytree(experiment.root / "notebooks", home / "notebooks", dirs_exist_ok=True)
    if not (home / "data").exists():
        (home / "data").symlink_to(experiment.root / "data")
    return home
