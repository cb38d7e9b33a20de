"""The whole pipeline at toy size, in a temporary clone: run with ``pytest -m pipeline``."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import yaml

from btsee_lib import plots
from btsee_lib.config import SECTIONS, repository_root

pytestmark = pytest.mark.pipeline
ROOT = repository_root(Path(__file__).parent)
TOY = {
    "data": {"limit": 1000},
    "backbone": {"width": 8, "epochs": 4, "reduced_epochs": 1, "batch_size": 64, "learning_rate": 0.1},
    "branches": {"channels": 8, "epochs": 3, "batch_size": 128},
    "boosting": {"seeds": [0, 1], "margins": [[-0.04, 0.0]] * 3, "min_support": 5, "min_survivors": 50},
    "evaluation": {"resamples": 50},
}
NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


def run_in(folder, *command, env=None, check=True):
    """Run a command of this environment in a clone, with the clone's own library."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    variables = os.environ | {"PATH": path, "PYTHONPATH": str(folder), "TQDM_DISABLE": "1"} | (env or {})
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    if check:
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def nbval(folder, *notebooks, env=None):
    names = [f"reports/notebooks/{name}.ipynb" for name in notebooks]
    command = ["pytest", "--nbval", "--nbval-current-env", "-p", "no:cacheprovider", "-q", *names]
    return run_in(folder, *command, env=env, check=False)


def copy_of_the_repository(target):
    """Copy what git tracks, and what it would track, without history, results or environments."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file() and not name.startswith(("reports/", "tests/")) and name != "dvc.lock":
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target / name)
    (target / "data").symlink_to(ROOT / "data")


def change_params(folder, changes):
    parameters = yaml.safe_load((folder / "params.yaml").read_text())
    for section, values in changes.items():
        parameters[section] |= values
    (folder / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))


def stages_run(done):
    """The stages that a ``dvc repro`` ran, from what it printed."""
    return [line.split("'")[1] for line in done.stdout.splitlines() if line.startswith("Running stage")]


def published(folder):
    """Every published file but the figures, with its bytes."""
    files = [*folder.glob("reports/tables/*.csv"), *folder.glob("reports/notebooks/*.ipynb")]
    files.append(folder / "reports" / "metrics.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(files)}


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clone")
    copy_of_the_repository(folder)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    change_params(folder, TOY)
    run_in(folder, "dvc", "repro")
    return folder


def test_every_notebook_is_published_executed_top_to_bottom(clone):
    for name in NOTEBOOKS:
        notebook = nbformat.read(clone / "reports" / "notebooks" / f"{name}.ipynb", as_version=4)
        counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
        assert counts == list(range(1, len(counts) + 1)), name


def test_every_table_with_a_figure_has_been_drawn(clone):
    tables = {path.stem for path in (clone / "reports" / "tables").glob("*.csv")}
    figures = {path.stem for path in (clone / "reports" / "figures").glob("*.png")}
    assert figures == tables & set(plots.FIGURES)
    assert set(plots.FIGURES) <= tables


def test_main_tables_have_the_documented_columns(clone):
    table = pd.read_csv(clone / "reports" / "tables" / "configurations.csv")
    expected = "seed,training,calibration,m1,m2,m3,accuracy,drop,reduction,exit1,exit2,exit3,exit4".split(",")
    assert list(table.columns) == [*expected, "valid_drop", "valid_reduction"]
    assert len(table) == 2 * 4 * 8
    claims = pd.read_csv(clone / "reports" / "tables" / "claims.csv")
    assert list(claims.columns) == ["claim", "paper", "measured", "low", "high", "verdict", "note"]
    assert len(claims) == 7


def test_second_repro_does_nothing(clone):
    assert stages_run(run_in(clone, "dvc", "repro")) == []


def test_executed_notebooks_pass_nbval(clone):
    done = nbval(clone, *NOTEBOOKS)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


@pytest.mark.parametrize(
    "environment",
    [{"OMP_NUM_THREADS": "1"}, {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "default"}],
    ids=["one thread", "another processor"],
)
def test_nbval_passes_with(clone, environment):
    done = nbval(clone, *NOTEBOOKS, env=environment)
    assert done.returncode == 0, done.stdout[-3000:]


def test_checking_notebooks_changes_nothing_that_is_published_or_cached(clone):
    before = published(clone)
    nbval(clone, "05_evaluation")
    assert published(clone) == before
    assert stages_run(run_in(clone, "dvc", "repro", "--dry")) == []


def test_tampered_output_fails_nbval(clone, tmp_path):
    path = clone / "reports" / "notebooks" / "05_evaluation.ipynb"
    original = path.read_text()
    assert "reproduced here" in original
    path.write_text(original.replace("reproduced here", "reproduced anyway"))
    try:
        assert nbval(clone, "05_evaluation").returncode == 1
    finally:
        path.write_text(original)


def test_tampered_measurement_fails_nbval(clone):
    path = clone / "reports" / "metrics.json"
    original = path.read_text()
    numbers = json.loads(original)
    numbers["backbone.test_accuracy"] += 5
    path.write_text(json.dumps(numbers))
    try:
        assert nbval(clone, "02_backbone").returncode == 1
    finally:
        path.write_text(original)


def test_run_in_another_clone_gives_the_same_bytes(clone, tmp_path):
    copy_of_the_repository(tmp_path)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    change_params(tmp_path, TOY)
    run_in(tmp_path, "dvc", "repro")
    assert published(tmp_path) == published(clone)


def test_figures_are_redrawn_from_the_tables_alone(clone, tmp_path):
    copy_of_the_repository(tmp_path)
    shutil.copytree(clone / "reports" / "tables", tmp_path / "reports" / "tables")
    run_in(tmp_path, sys.executable, "-m", "btsee_lib.pipeline", "figures")
    for path in (clone / "reports" / "figures").glob("*.png"):
        assert (tmp_path / "reports" / "figures" / path.name).read_bytes() == path.read_bytes(), path.name


# The tests below change the clone, each in a way that the next one does not mind.


def artefact_times(folder):
    stamps = (folder / "artifacts").glob("**/fingerprint.json")
    return {str(path): path.stat().st_mtime_ns for path in stamps if "reports" not in path.parts}


def test_changed_evaluation_parameter_reruns_one_stage(clone):
    change_params(clone, {"evaluation": {"resamples": 60}})
    assert stages_run(run_in(clone, "dvc", "repro")) == ["evaluation"]


def test_changed_figure_code_retrains_nothing(clone):
    before = artefact_times(clone)
    plots_file = clone / "btsee_lib" / "plots.py"
    plots_file.write_text(plots_file.read_text() + "\n# a comment\n")
    assert "backbone" in stages_run(run_in(clone, "dvc", "repro"))
    assert len(before) >= 4
    assert artefact_times(clone) == before


def test_artefact_of_other_parameters_is_named_with_its_remedy(clone):
    change_params(clone, {"backbone": {"learning_rate": 0.11}})
    done = run_in(
        clone, sys.executable, "-m", "btsee_lib.pipeline", "run", "04_class_precision_margin", check=False
    )
    assert done.returncode != 0
    assert "parameters.backbone.learning_rate is 0.1, expected 0.11" in done.stderr
    assert "dvc repro" in done.stderr


def test_wrong_parameter_stops_before_any_work(clone):
    change_params(clone, {"backbone": {"width": "wide"}})
    done = run_in(clone, sys.executable, "-m", "btsee_lib.pipeline", "check", check=False)
    assert done.returncode != 0
    assert done.stderr.startswith("error: params.yaml: backbone.width is 'wide'")
    assert len(done.stderr.splitlines()) == 1
    assert set(SECTIONS) >= set(TOY)
