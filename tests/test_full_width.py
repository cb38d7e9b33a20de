import nbformat
import pandas as pd
import pytest
import yaml

from btsee_lib import full_width
from btsee_lib.config import params, repository_root


@pytest.fixture
def root(workspace, repository):
    """A repository with notebooks of one cell and a profile that changes two parameters."""
    (workspace / "params.yaml").write_text((repository / "params.yaml").read_text())
    (workspace / "profiles").mkdir()
    (workspace / "profiles" / "full_width.yaml").write_text("backbone: {width: 24}\nboosting: {seeds: [7]}\n")
    (workspace / "notebooks").mkdir()
    for name in full_width.NOTEBOOKS:
        nbformat.write(nbformat.v4.new_notebook(), workspace / "notebooks" / f"{name}.ipynb")
    (workspace / "reports" / "full_width").mkdir(parents=True)
    (workspace / "reports" / "full_width" / "README.md").write_text("what belongs here\n")
    return workspace


def run_one(name):
    """Stand in for the pipeline: write the parameters that a notebook would see into a table."""
    folder = repository_root() / "artifacts" / "reports" / name
    folder.mkdir(parents=True, exist_ok=True)
    seen = {"width": params("backbone").width, "seeds": str(params("boosting").seeds)}
    pd.DataFrame([seen]).to_csv(folder / f"table_{name}.csv", index=False)
    nbformat.write(nbformat.v4.new_notebook(), folder / f"{name}.ipynb")


def listed(root):
    return sorted(path.name for path in (root / "reports" / "full_width").iterdir())


def test_without_a_gpu_nothing_is_run_or_overwritten(root, capsys):
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    full_width.run_full_width(lambda name: pytest.fail("ran"), device=None)
    assert "skipped, there is no CUDA device here" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
    assert full_width.read_tables() == {}


def test_a_skipped_stage_leaves_the_folder_that_dvc_expects(workspace):
    full_width.run_full_width(lambda name: pytest.fail("ran"), device=None)
    assert listed(workspace) == []


def test_with_a_gpu_every_notebook_runs_with_the_profile_in_a_root_of_its_own(root):
    full_width.run_full_width(run_one, device="a GPU")
    assert repository_root() == root.resolve()
    for name in full_width.NOTEBOOKS:
        table = pd.read_csv(root / "reports" / "full_width" / f"table_{name}.csv")
        assert table.to_dict("records") == [{"width": 24, "seeds": "[7]"}]
    assert listed(root) == sorted(
        [
            "README.md",
            "device.csv",
            "05_evaluation.ipynb",
            *(f"table_{name}.csv" for name in full_width.NOTEBOOKS),
        ]
    )
    device = pd.read_csv(root / "reports" / "full_width" / "device.csv").set_index("what")["value"]
    assert device["device"] == "a GPU"
    assert int(device["seconds"]) >= 0
    assert yaml.safe_load((root / "params.yaml").read_text())["backbone"]["width"] == 16
    assert not (root / "artifacts" / "reports").exists()
    assert set(full_width.read_tables()) == {"device", *(f"table_{name}" for name in full_width.NOTEBOOKS)}


def test_a_second_run_replaces_the_tables_and_a_failed_one_leaves_them(root):
    full_width.run_full_width(run_one, device="a GPU")
    before = listed(root)

    def fail(name):
        if name.startswith("03"):
            raise SystemExit("03: cell 5 failed")
        run_one(name)

    with pytest.raises(SystemExit):
        full_width.run_full_width(fail, device="another")
    assert listed(root) == before
    assert "a GPU" in (root / "reports" / "full_width" / "device.csv").read_text()
    (root / "reports" / "full_width" / "old.csv").touch()
    full_width.run_full_width(run_one, device="another")
    assert listed(root) == before
    assert "another" in (root / "reports" / "full_width" / "device.csv").read_text()


def test_the_data_are_those_of_the_repository(root):
    nested = full_width.prepare_root()
    (root / "data" / "some").write_text("x")
    assert (nested / "data" / "some").read_text() == "x"
    assert full_width.prepare_root() == nested
