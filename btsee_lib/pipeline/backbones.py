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
from btsee_lib.store.artefacts import kept
from btsee_lib.store.backbone_artefact import recipe
from btsee_lib.store.measured import BACKBONES, measured_backbones
from btsee_lib.store.results import load_data
from btsee_lib.store.tables import write_whole
from btsee_lib.studies.claims import REPRODUCED

OTHERS = 4  # backbones beside the experiment's own
NOTEBOOKS = ("02_backbone", "03_boosted_branches", "04_class_precision_margin", "05_evaluation")


def measure_backbones() -> None:
    """Run the notebooks up to the claims on backbones of the next seeds, and keep what they say in git.

    The table is written anew after each backbone, and what stands there is not measured again: an interrupted
    run goes on, also on another machine. To measure anew, delete it.
    """
    splits, own = load_data(), params("backbone").seed
    table, path = measured_backbones(splits), kept(BACKBONES)
    path.parent.mkdir(parents=True, exist_ok=True)
    for seed in range(own + 1, own + 1 + OTHERS):
        if seed not in table["backbone_seed"].tolist():
            claims = _claims_on(seed)
            table = pd.concat([table, claims] if len(table) else [claims])
            write_whole(path, table.assign(made_from=recipe(splits)).to_csv(index=False))
        verdicts = table.loc[table["backbone_seed"] == seed, "verdict"]
        holds = int((verdicts == REPRODUCED).sum())
        print(f"backbone of seed {seed}: {holds} of {len(verdicts)} readings hold", flush=True)


def _claims_on(seed: int) -> pd.DataFrame:
    """Run the notebooks on the backbone of a seed, and return its claims."""
    home = _experiment_of(seed)
    command = [sys.executable, "-m", "btsee_lib.pipeline", "run", *NOTEBOOKS]
    subprocess.run(command, cwd=home, check=True)
    claims = pd.read_csv(home / "artifacts" / "reports" / NOTEBOOKS[-1] / CLAIMS)
    return claims.assign(backbone_seed=seed)


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
