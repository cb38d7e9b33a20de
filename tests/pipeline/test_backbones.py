import pandas as pd
import pytest
import yaml
from small_experiment import small_repository

from btsee_lib.experiment import current_experiment
from btsee_lib.pipeline import backbones
from btsee_lib.store import measured_backbones
from btsee_lib.store.results import load_data


@pytest.fixture
def claimed(repository, tmp_path, monkeypatch):
    """The seeds of the experiments in which the notebooks were asked to run; each claims its seed."""
    root, seeds = small_repository(tmp_path / "small", repository), []
    (root / "notebooks").mkdir()
    monkeypatch.chdir(root)
    monkeypatch.setattr(backbones, "OTHERS", 2)

    def run(command, cwd, check):
        assert check
        assert command[-4:] == [*backbones.NOTEBOOKS]
        assert current_experiment(cwd / "notebooks").root == cwd  # an experiment of its own, for kernels too
        seeds.append(yaml.safe_load((cwd / "params.yaml").read_text())["backbone"]["seed"])
        folder = cwd / "artifacts" / "reports" / "05_evaluation"
        folder.mkdir(parents=True)
        table = pd.DataFrame({"claim": ["1a shift"], "measured": seeds[-1:], "verdict": "reproduced here"})
        table.to_csv(folder / "claims.csv", index=False)

    monkeypatch.setattr(backbones.subprocess, "run", run)
    return seeds


def test_the_notebooks_run_on_backbones_of_the_next_seeds_and_nothing_else_differs(claimed):
    backbones.measure_backbones()
    assert claimed == [1, 2]
    found = measured_backbones(load_data())
    assert found[["backbone_seed", "measured"]].to_numpy().tolist() == [[1, 1], [2, 2]]
    own, other = (
        yaml.safe_load(path.read_text())
        for path in (
            current_experiment().parameters,
            current_experiment().artifacts / "backbones" / "seed_1" / "params.yaml",
        )
    )
    other["backbone"]["seed"] = own["backbone"]["seed"]
    assert other == own


def test_claims_that_are_written_down_are_not_measured_again(claimed, monkeypatch):
    backbones.measure_backbones()
    before = backbones.kept(backbones.BACKBONES).read_text()
    monkeypatch.setattr(backbones, "OTHERS", 3)
    backbones.measure_backbones()
    assert claimed == [1, 2, 3]
    assert backbones.kept(backbones.BACKBONES).read_text().startswith(before)


def test_pictures_of_ones_own_are_found_from_there_too(claimed, tmp_path):
    path = current_experiment().parameters
    content = yaml.safe_load(path.read_text())
    content["data"] |= {"path": "mine", "name": "folder"}
    path.write_text(yaml.safe_dump(content))
    home = backbones._experiment_of(1)
    assert yaml.safe_load((home / "params.yaml").read_text())["data"]["path"] == str(path.parent / "mine")


@pytest.mark.parametrize("change", [{"epochs": 1}, {"seed": 7}])
def test_claims_on_backbones_of_another_recipe_do_not_count(claimed, change):
    backbones.measure_backbones()
    path = current_experiment().parameters
    content = yaml.safe_load(path.read_text())
    content["backbone"] |= change
    path.write_text(yaml.safe_dump(content))
    assert measured_backbones(load_data()).empty


def test_where_none_have_been_measured_there_are_no_rows(claimed):
    assert measured_backbones(load_data()).empty
