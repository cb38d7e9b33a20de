from pathlib import Path

import pytest

from btsee_lib.experiment import current_experiment, input_path, repository_root


def test_the_root_is_found_from_a_sub_folder(workspace):
    folder = workspace / "notebooks" / "deep"
    folder.mkdir(parents=True)
    assert repository_root(folder) == workspace.resolve()
    assert repository_root() == workspace.resolve()


def test_the_nearest_root_wins(workspace):
    inner = workspace / "clone"
    inner.mkdir()
    (inner / "dvc.yaml").touch()
    assert repository_root(inner) == inner.resolve()


def test_outside_the_repository_the_root_is_refused_with_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no dvc\.yaml in .*start inside the repository") as caught:
        repository_root()
    assert str(tmp_path) in str(caught.value)


def test_the_main_experiment_is_that_of_the_root(workspace):
    found, root = current_experiment(), workspace.resolve()
    assert (found.home, found.root, found.profile) == (root, root, None)
    assert found.artifacts == root / "artifacts"
    assert found.reports == root / "reports"
    assert found.parameters == root / "params.yaml"


def test_a_repository_that_lies_in_a_folder_called_reports_is_no_profile(tmp_path):
    clone = tmp_path / "reports" / "clone"
    clone.mkdir(parents=True)
    (clone / "dvc.yaml").touch()
    assert current_experiment(clone).root == clone.resolve()
    assert current_experiment(clone).profile is None


@pytest.mark.parametrize("below", ["", "notebooks"])
def test_a_profile_has_parameters_results_and_artefacts_of_its_own(workspace, below):
    root, home = workspace.resolve(), workspace.resolve() / "reports" / "cinic-10"
    (home / below).mkdir(parents=True)
    (home / "dvc.yaml").touch()
    found = current_experiment(home / below)
    assert (found.home, found.root, found.profile) == (home, root, "cinic-10")
    assert found.artifacts == root / "artifacts" / "cinic-10"
    assert found.reports == home
    assert found.parameters == home / "params.yaml"
    assert repository_root(home / below) == root


def test_published_results_without_a_profile_are_of_the_main_experiment(workspace):
    folder = workspace / "reports" / "notebooks"
    folder.mkdir(parents=True)
    assert current_experiment(folder).profile is None
    assert current_experiment(folder).home == workspace.resolve()


def test_pictures_are_read_from_where_the_path_says_counted_from_the_root(workspace):
    assert input_path("folder", "pictures") == workspace.resolve() / "pictures"
    assert input_path("folder", "/elsewhere") == Path("/elsewhere")


def test_without_a_path_an_archive_in_the_folder_of_the_data_set_serves_if_there_is_one(workspace):
    assert input_path("cifar-10", None) is None
    archive = workspace.resolve() / "data" / "cifar-10" / "pictures.tar.xz"
    archive.parent.mkdir(parents=True)
    archive.touch()
    assert input_path("cifar-10", None) == archive
    assert input_path("cinic-10", None) is None
