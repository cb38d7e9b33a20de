"""The whole pipeline at toy size, in temporary clones: run with ``pytest -m pipeline``."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import yaml
from own_pictures import CHANGES, PICTURES, write_pictures
from small_cinic10 import write_archive

from btsee_lib.experiment import repository_root
from btsee_lib.pipeline.profiles import MAIN_ONLY
from btsee_lib.plots import FIGURES
from btsee_lib.store.deployment_results import TABLES

pytestmark = pytest.mark.pipeline
ROOT = repository_root(Path(__file__).parent)
TOY = {
    "data": {"limit": 1000},
    "backbone": {"width": 12, "epochs": 4, "reduced_epochs": 1, "batch_size": 64, "learning_rate": 0.1},
    "branches": {"channels": [8, 8, 8], "epochs": 3, "batch_size": 128},
    "boosting": {"seeds": [0, 1], "margins": [[-0.04, 0.0]] * 3, "min_support": 5, "min_survivors": 50},
    "evaluation": {"resamples": 50},
    "deployment": {
        "full_width": 16,
        "latency_images": 20,
        "batch_sizes": [1, 4],
        "rounds": 1,
    },
}
TIMES = {
    *TABLES,
    "time_against_macs",
    "break_even",
    "static_networks",
    "latency_budget",
}
PROFILE = "tiny-cinic"
NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
EXECUTED = ("notebooks", "solutions")  # folders of reports/


def start_in(folder, *command, **variables):
    """Start a command of this environment in a clone: with the clone's own library, one thread, one process."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ours = {"PATH": path, "PYTHONPATH": str(folder), "TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1"}
    ours["LOKY_MAX_CPU_COUNT"] = "1"  # a process more takes longer to start than all it would do here
    environment = os.environ | ours | variables
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environment, **pipes)


def finish(process):
    """Wait for a command: its return code, what it printed, its errors."""
    printed, errors = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, printed, errors)


def run_in(folder, *command):
    return all_succeed([start_in(folder, *command)])[0]


def start_repro(home, clone, *stages):
    """Start ``dvc repro`` in the home of a profile, with the library of its clone."""
    return start_in(home, "dvc", "repro", *stages, PYTHONPATH=str(clone))


def repro_in(home, clone, *stages):
    return all_succeed([start_repro(home, clone, *stages)])[0]


def pipeline_in(folder, *arguments):
    return finish(start_in(folder, sys.executable, "-m", "btsee_lib.pipeline", *arguments))


def start_nbval(folder, *places, **variables):
    names = [f"reports/{place}" for place in places]
    command = ["pytest", "--nbval", "--nbval-current-env", "-p", "no:cacheprovider", *names]
    return start_in(folder, *command, **variables)


def copy_of_the_repository(target):
    """Copy what git tracks, and what it would track, without history, results or environments."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    left_out = re.compile(r"reports/(?!measured|experiments)|tests/|industrial/|dvc\.lock$")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file() and not left_out.match(name):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target / name)
    for shared in (target / "reports" / "experiments").glob("*.csv"):
        shared.unlink()
    (target / "data").symlink_to(ROOT / "data")
    subprocess.run(["git", "init", "-q"], cwd=target, check=True)


def change_params(folder, changes):
    parameters = yaml.safe_load((folder / "params.yaml").read_text())
    for section, values in changes.items():
        parameters[section] |= values
    (folder / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))


def stages_run(done):
    """The stages that a ``dvc repro`` ran, from what it printed."""
    return [line.split("'")[1] for line in done.stdout.splitlines() if line.startswith("Running stage")]


def published(folder):
    """Every published file but the figures, with its content, apart from the times."""
    files = [*folder.glob("reports/metrics*.json"), *folder.glob("reports/model/*")]
    files += [path for path in folder.glob("reports/tables/*.csv") if path.stem not in TIMES]
    content = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(files)}
    for path in sorted(path for name in EXECUTED for path in folder.glob(f"reports/{name}/*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if "timed" in cell.metadata.get("tags", []):
                cell.outputs = []
        content[str(path.relative_to(folder))] = nbformat.writes(notebook)
    return content


@pytest.fixture(scope="module")
def clones(tmp_path_factory):
    """Two clones, each run through the whole pipeline at the same time and apart from one another.

    The first trains its branches in one process, the second in as many as there are processors.
    """
    folders = [tmp_path_factory.mktemp(name) for name in ("clone", "other")]
    for folder in folders:
        copy_of_the_repository(folder)
        change_params(folder, TOY)
    processes = ("1", str(os.cpu_count()))
    all_succeed(
        [
            start_in(folder, "dvc", "repro", LOKY_MAX_CPU_COUNT=number)
            for folder, number in zip(folders, processes, strict=True)
        ]
    )
    return folders


def all_succeed(processes):
    finished = [finish(each) for each in processes]
    for done in finished:
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return finished


@pytest.fixture(scope="module")
def clone(clones):
    return clones[0]


@pytest.fixture(scope="module", autouse=True)
def with_profile(clones, tmp_path_factory):
    """A copy of the first clone in which a profile runs: it starts before the tests and goes on beside them.

    The profile is what cinic-10 changes (bf16, float16, crops), at toy size, on an archive of its layout.
    """
    copy = tmp_path_factory.mktemp("with_profile")
    shutil.copytree(clones[0], copy, symlinks=True, dirs_exist_ok=True)
    archive = write_archive(tmp_path_factory.mktemp("archive") / "small.tar.gz", images_a_class=100)
    changes = yaml.safe_load((ROOT / "profiles" / "cinic-10.yaml").read_text())
    toy = TOY | {"data": {"path": str(archive)}, "deployment": TOY["deployment"] | {"static_width": 8}}
    changes |= {section: changes.get(section, {}) | values for section, values in toy.items()}
    (copy / "profiles" / f"{PROFILE}.yaml").write_text(yaml.safe_dump(changes))
    run_in(copy, sys.executable, "-m", "btsee_lib.pipeline", "profile", PROFILE)
    before, running = published(copy), start_repro(copy / "reports" / PROFILE, copy)
    yield copy, archive, before, running
    running.communicate()


def test_every_notebook_is_published_executed_top_to_bottom(clone):
    paths = [f"{folder}/{name}.ipynb" for folder in EXECUTED for name in NOTEBOOKS]
    for name in paths:
        notebook = nbformat.read(clone / "reports" / name, as_version=4)
        counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
        assert counts == list(range(1, len(counts) + 1)), name


def test_every_table_with_a_figure_has_been_drawn(clone):
    tables = {path.stem for path in (clone / "reports" / "tables").glob("*.csv")}
    figures = {path.stem for path in (clone / "reports" / "figures").glob("*.png")}
    ours = {name for name, draw in FIGURES.items() if draw.__module__.startswith("btsee_lib.")}
    assert figures == ours - {"rivals", "verdicts_by_backbone"}  # nothing is measured by hand on so few images
    assert figures <= tables


def test_main_tables_have_the_documented_columns(clone):
    table = pd.read_csv(clone / "reports" / "tables" / "configurations.csv")
    expected = "seed,training,calibration,m1,m2,m3,accuracy,drop,reduction,exit1,exit2,exit3,exit4".split(",")
    assert list(table.columns) == [*expected, "valid_drop", "valid_reduction"]
    assert len(table) == 2 * 4 * 8
    claims = pd.read_csv(clone / "reports" / "tables" / "claims.csv")
    assert list(claims.columns) == ["claim", "paper", "measured", "low", "high", "verdict", "note"]
    assert claims["claim"].str[0].unique().tolist() == list("1234567")


def test_two_clones_give_the_same_bytes(clones):
    assert published(clones[0]) == published(clones[1])


def test_second_repro_only_looks_at_the_input(clone):
    assert stages_run(run_in(clone, "dvc", "repro")) == ["input"]


def test_nbval_passes_with_another_processor_and_one_thread_and_fails_on_other_results(clones):
    """Both clones at once: one as it is, one with another recorded number, another output and another table."""
    before = published(clones[0])
    processor = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "default"}
    untouched = start_nbval(clones[0], *EXECUTED, **processor)
    recorded, printed = "evaluation.full.gain", "evaluation.gain.independent.survivors"
    path = clones[1] / "reports" / "metrics.json"
    numbers = json.loads(path.read_text())
    path.write_text(json.dumps(numbers | {recorded: numbers[recorded] + 0.5}))
    executed = clones[1] / "reports" / "notebooks" / "05_evaluation.ipynb"
    told = f"{printed}: within 0.2"
    assert told in executed.read_text()
    executed.write_text(executed.read_text().replace(told, f"{printed}: within 0.3"))
    table = clones[1] / "reports" / "measured" / "other_ways" / "fashion-mnist" / "standings.csv"
    standings = pd.read_csv(table)
    standings.loc[standings["training"] == "boosted", ["gain_low", "gain", "gain_high"]] = 1, 2, 3
    standings.to_csv(table, index=False)
    other = clones[1] / "reports" / "notebooks" / "09_other_ways.ipynb"
    changed = finish(start_nbval(clones[1], f"notebooks/{executed.name}", f"notebooks/{other.name}"))
    assert changed.returncode == 1
    failed = re.findall(r"^FAILED .*?(\w+\.ipynb)::Cell (\d+)", changed.stdout, re.MULTILINE)
    evaluation = {int(number) for name, number in failed if name == executed.name}
    assert evaluation == cells_that_print(executed, f"{recorded}:", f"{printed}:")
    assert len(evaluation) == 2
    untrue = cells_that_print(other, "holds: on Fashion-MNIST Zero Time Waste alone is ahead")
    assert len(untrue) == 1
    assert untrue <= {int(number) for name, number in failed if name == other.name}
    (done,) = all_succeed([untouched])
    assert " passed" in done.stdout
    assert published(clones[0]) == before
    assert stages_run(run_in(clones[0], "dvc", "repro", "--dry")) == ["input"]


def cells_that_print(executed, *texts):
    """The numbers, among a notebook's code cells, of those in whose outputs one of the texts stands."""
    code = [cell for cell in nbformat.read(executed, as_version=4).cells if cell.cell_type == "code"]
    return {number for number, cell in enumerate(code) if any(text in str(cell.outputs) for text in texts)}


def test_figures_are_redrawn_from_the_tables_alone(clone, tmp_path):
    copy_of_the_repository(tmp_path)
    shutil.copytree(clone / "reports" / "tables", tmp_path / "reports" / "tables")
    assert pipeline_in(tmp_path, "figures").returncode == 0
    for path in (clone / "reports" / "figures").glob("*.png"):
        assert (tmp_path / "reports" / "figures" / path.name).read_bytes() == path.read_bytes(), path.name


def test_own_pictures_and_other_parameters_go_through_all_notebooks(clone, tmp_path):
    """Three classes in colour under other values of all keys, thirty grey ones, and a profile, all at a time.

    The profile is the README's for few pictures, with all that it changes; the rest is of toy size. Its
    pictures are so easy that all may leave at branch 1.
    """
    started, few = [], tmp_path / "few"
    copy_of_the_repository(few)
    write_pictures(few / "pictures", [70, 60, 70], (40, 30, 3))
    change_params(few, TOY | {"data": {}})
    run_in(few, sys.executable, "-m", "btsee_lib.pipeline", "profile", "few-pictures")
    home = few / "reports" / "few-pictures"
    started.append(start_repro(home, few))
    for name, shape in (("three", (24, 24, 3)), ("thirty", (20, 20))):
        folder = tmp_path / name
        copy_of_the_repository(folder)
        write_pictures(folder / "pictures", PICTURES[name], shape)
        own = {"name": "folder", "path": "pictures", **CHANGES[name]["data"]}
        change_params(folder, CHANGES[name] | {"data": own})
        started.append(start_in(folder, "dvc", "repro", "deployment", "solutions"))
    all_succeed(started)
    for name, rows in (("three", 2 * 4 * 6), ("thirty", 4 * 2)):
        made = tmp_path / name / "artifacts" / "reports"
        assert len(pd.read_csv(made / "05_evaluation" / "configurations.csv")) == rows
        assert (made / "06_deployment" / "model" / "cascade.onnx").is_file()
        executed = {path.stem for path in (tmp_path / name / "reports" / "solutions").glob("*.ipynb")}
        assert executed == set(NOTEBOOKS)
    executed = {path.stem for path in (home / "solutions").glob("*.ipynb")}
    assert executed == set(NOTEBOOKS) - set(MAIN_ONLY.values())
    assert (home / "model" / "cascade.onnx").is_file()
    assert json.loads((home / "metrics.json").read_text())["backbone.test_accuracy"] > 90
    assert np.load(few / "artifacts" / "few-pictures" / "features" / "valid_branch1.npy").shape[0] < 50


# The tests below change the clone, each in a way that the next one does not mind.


def artefact_times(folder):
    stamps = (folder / "artifacts").glob("**/fingerprint.json")
    return {str(path): path.stat().st_mtime_ns for path in stamps if "reports" not in path.parts}


def test_an_evaluation_parameter_reruns_its_stage_and_the_solutions_and_figure_code_retrains_nothing(clones):
    """Each change in a clone of its own, at the same time."""
    change_params(clones[0], {"evaluation": {"resamples": 60}})
    before = artefact_times(clones[1])
    figures = clones[1] / "btsee_lib" / "plots" / "branches.py"
    figures.write_text(figures.read_text() + "\nANOTHER = 1\n")
    evaluated, drawn = all_succeed(
        [
            start_in(clones[0], "dvc", "repro"),
            start_in(clones[1], "dvc", "repro", "backbone", "boosted_branches"),
        ]
    )
    assert stages_run(evaluated) == ["input", "evaluation", "solutions", "reports"]
    assert stages_run(drawn) == ["input", "backbone", "boosted_branches"]
    made = {path.relative_to(clones[1] / "artifacts").parts[0] for path in map(Path, before)}
    assert {"backbone", "features", "cascades", "studies", "own_visits"} <= made
    assert artefact_times(clones[1]) == before


def test_a_profile_runs_beside_the_main_experiment_out_of_an_archive(with_profile):
    clone, archive, before, running = with_profile
    all_succeed([running])
    home = clone / "reports" / PROFILE

    parameters = yaml.safe_load((home / "params.yaml").read_text())
    assert (parameters["data"]["name"], parameters["compute"]["precision"]) == ("cinic-10", "bf16-mixed")
    grids = np.load(clone / "artifacts" / PROFILE / "features" / "train_branch1.npy", mmap_mode="r")
    assert (grids.dtype, grids.shape) == (np.float16, (1000, 12, 8, 8))
    assert (pd.read_csv(home / "tables" / "oracle.csv")["unexplained"] == 0).all()
    assert len(pd.read_csv(home / "tables" / "configurations.csv")) == 2 * 4 * 8
    made = {path.stem for path in (home / "notebooks").glob("*.ipynb")}
    assert made == set(NOTEBOOKS) - set(MAIN_ONLY.values())
    assert {path.stem for path in (home / "solutions").glob("*.ipynb")} == made
    assert published(clone) == before, "the main results were touched"
    assert stages_run(repro_in(home, clone)) == ["input"]
    main = stages_run(run_in(clone, "dvc", "repro", "--dry"))
    assert main == ["input", "evaluation"], "the main experiment sets the profile's claims beside its own"

    write_archive(archive, images_a_class=99)
    assert stages_run(repro_in(home, clone, "data")) == ["input", "data"]


def test_artefact_of_other_parameters_is_named_with_its_remedy(clone):
    change_params(clone, {"backbone": {"learning_rate": 0.11}})
    done = pipeline_in(clone, "run", "04_class_precision_margin")
    assert done.returncode != 0
    assert "parameters.backbone.learning_rate is 0.1, expected 0.11" in done.stderr
    assert "dvc repro" in done.stderr


def test_wrong_parameter_stops_before_any_work(clone):
    change_params(clone, {"backbone": {"width": "wide"}})
    done = pipeline_in(clone, "check")
    assert done.returncode != 0
    assert done.stderr.startswith("error: params.yaml: backbone.width is 'wide'")
    assert len(done.stderr.splitlines()) == 1
