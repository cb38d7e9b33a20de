"""The files of the repository agree with one another."""

import re
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import yaml

from btsee_lib import plots_industrial
from btsee_lib.config import SECTIONS, check_params, repository_root
from btsee_lib.plots.figures import FIGURES

ROOT = repository_root(Path(__file__).parent)
PIPELINES = (ROOT, ROOT / "industrial")  # each with its own dvc.yaml, params.yaml, notebooks and reports
NOTEBOOKS = [path for root in PIPELINES for path in sorted((root / "notebooks").glob("*.ipynb"))]


def stages_of(root):
    return yaml.safe_load((root / "dvc.yaml").read_text())["stages"]


def code_of(notebook):
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")


def outs_of(stage):
    listed = [*stage.get("outs", []), *stage.get("metrics", [])]
    return {next(iter(out)) if isinstance(out, dict) else out for out in listed}


def modules_used(code):
    """The modules that a notebook imports, and those that they import in turn.

    Where a notebook only loads what is stored, ``stored`` is not followed: artefacts carry their own
    fingerprint of the code that made them. Every notebook is run by ``pipeline``, not followed either.
    """
    loads_only = "stored.make_" not in code
    used, waiting = {"pipeline"}, imported(code) | {"config"}
    while waiting:
        name = waiting.pop()
        path = ROOT / "btsee_lib" / f"{name}.py"
        if name not in used and path.is_file():
            used.add(name)
            waiting |= set() if name == "stored" and loads_only else imported(path.read_text())
    return used


def imported(code):
    found = set(re.findall(r"from btsee_lib\.(\w+) import", code))
    for names in re.findall(r"from btsee_lib import ([^\n(]+|\([^)]*\))", code):
        found |= set(re.findall(r"\b(\w+)\b(?: as \w+)?", names))
    return found


@pytest.mark.parametrize("root", PIPELINES, ids=lambda root: root.name)
def test_params_yaml_is_valid(root):
    check_params(root / "params.yaml")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_source_notebook_is_stripped_and_has_a_parameters_cell(path):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in code) == 1


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_published_notebook_is_of_the_source(path):
    source = nbformat.read(path, as_version=4)
    executed = nbformat.read(path.parents[1] / "reports" / "notebooks" / path.name, as_version=4)
    assert [cell.source for cell in executed.cells] == [cell.source for cell in source.cells]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stage_names_every_section_and_module_that_its_notebook_uses(path):
    stages = stages_of(path.parents[1]).values()
    stage = next(each for each in stages if f"notebooks/{path.name}" in each["deps"])
    code = code_of(nbformat.read(path, as_version=4))
    sections = set(re.findall(r'params\("(\w+)"\)', code))
    assert sections <= set(stage["params"]) <= set(SECTIONS)
    listed = {Path(dep).stem for dep in stage["deps"] if Path(dep).parent.name == "btsee_lib"}
    assert listed == modules_used(code)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_tells_where_it_stands_and_describes_its_figures(path):
    notebook = nbformat.read(path, as_version=4)
    assert notebook.cells[0].source.startswith(f"# {path.stem[:2]}")
    assert "**Time:**" in notebook.cells[0].source
    code = code_of(notebook)
    assert code.count("show(") == len(re.findall(r'show\([^"]*?"', code)), "a figure lacks its description"
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert "## Exercises" in prose
    assert "## Summary" in prose
    assert "<details>" in prose


@pytest.mark.parametrize("root", PIPELINES, ids=lambda root: root.name)
def test_every_published_file_is_an_out_of_one_stage(root):
    outs = [out for stage in stages_of(root).values() for out in outs_of(stage) if out.startswith("reports/")]
    assert len(outs) == len(set(outs))
    on_disk = {
        str(path.relative_to(root))
        for path in (root / "reports").rglob("*")
        if path.is_file() and not path.name.startswith(".") and path.suffix != ".md"
    }
    folders = tuple(f"{out}/" for out in outs if (root / out).is_dir())
    assert {out for out in outs if (root / out).is_file()} == {
        name for name in on_disk if not name.startswith(folders)
    }
    assert all((root / out).exists() for out in outs)


def test_every_figure_has_its_table_among_the_outs():
    outs = {root: {out for stage in stages_of(root).values() for out in outs_of(stage)} for root in PIPELINES}
    for name, draw in FIGURES.items():
        root = PIPELINES[draw.__module__ == plots_industrial.__name__]
        assert {f"reports/tables/{name}.csv", f"reports/figures/{name}.png"} <= outs[root], name


def test_modules_import_in_one_direction():
    order = (
        "torchvision_schemas config profiles splits disk duplicates download image_files arrivals arrangement "
        "image_store fashion_mnist cinic10 cifar image_folder elpv data compute augmentation checkpoints "
        "backbone training features branches calibration cost cascade precision cascade_file onnx_export "
        "onnx_runner timing engines model_card boosting survivors studies uncertainty decisions evaluation "
        "comparison promises exit_rules claims deployment time_costs machine timed_models measurements "
        "artefacts backbone_artefact stored stored_deployment memory scaling paper_scale leakage folds "
        "module_intervals inspection plots plots_data plots_backbone plots_branches plots_margins "
        "plots_evaluation plots_deployment plots_industrial plots_scaling figures pictures reports "
        "full_width pipeline"
    ).split()
    modules = {path.stem for path in (ROOT / "btsee_lib").glob("[a-z]*.py")}
    assert modules == set(order)
    for position, name in enumerate(order):
        later = imported((ROOT / "btsee_lib" / f"{name}.py").read_text()) & set(order[position + 1 :])
        assert not later, f"{name} imports {later}"


def test_no_file_holds_a_path_of_one_machine():
    patterns = ("btsee_lib/*.py", "notebooks/*.ipynb", "reports/**/*.ipynb")
    texts = [path for root in PIPELINES for pattern in patterns for path in root.glob(pattern)]
    pattern = re.compile(r"/(root|home|tmp|work)/\w+")
    assert [path.name for path in texts if pattern.search(path.read_text())] == []


def test_readme_tells_the_recorded_verdicts():
    readme = (ROOT / "README.md").read_text()
    verdicts = pd.read_csv(ROOT / "reports" / "tables" / "claims.csv")["verdict"]
    rows = [line for line in readme.splitlines() if re.match(r"\| \d ", line)]
    assert len(rows) == len(verdicts)
    for row, verdict in zip(rows, verdicts, strict=True):
        assert f"**{verdict}**" in row


def test_readme_tells_the_predicted_hours_and_disk():
    readme, tables = (ROOT / "README.md").read_text(), ROOT / "reports" / "tables"
    for row in pd.read_csv(tables / "paper_scale_hours.csv").itertuples():
        assert f"| {row.step} | {row.work} | {row.hours:.1f} |" in readme
    disk = pd.read_csv(tables / "paper_scale_disk.csv").set_index("what")["gigabytes"]
    assert f"Disk: {disk.sum():.1f} GB, {disk['features']:.1f} of them features" in readme


def test_readme_names_only_files_that_exist():
    readme = (ROOT / "README.md").read_text()
    names = re.findall(r"\]\((?!http)([^)#]+)\)", readme)
    assert [name for name in names if not (ROOT / name).exists()] == []
