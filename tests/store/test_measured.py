import pandas as pd
import pytest

from btsee_lib.errors import ArtefactError
from btsee_lib.store import measured


@pytest.fixture
def experiments(workspace, repository):
    """The folders of the main experiment and of a profile on the same data set."""
    home = workspace / "reports" / "mine"
    home.mkdir(parents=True)
    (home / "dvc.yaml").touch()
    content = (repository / "params.yaml").read_text()
    (workspace / "params.yaml").write_text(content)
    (home / "params.yaml").write_text(content)
    return workspace, home


def test_what_is_kept_is_read_in_every_experiment_also_of_two_on_one_data_set(experiments, monkeypatch):
    table = pd.DataFrame({"images": [100], "seconds": [1 / 3]})
    for number, experiment in enumerate(experiments):
        monkeypatch.chdir(experiment)
        measured.keep_comparison("joint", {"grown": table * (number + 1)})
    for experiment in experiments:
        monkeypatch.chdir(experiment)
        found = measured.measured_comparison("joint")
        assert list(found) == ["fashion-mnist", "mine"]
        assert found["fashion-mnist"]["grown"]["seconds"].tolist() == [0.333333]
        assert found["mine"]["grown"]["images"].tolist() == [200]


def test_where_nothing_is_kept_a_sentence_says_what_to_do(experiments):
    with pytest.raises(ArtefactError, match="reports/measured/joint holds no results: run 'make joint'"):
        measured.measured_comparison("joint")


def test_a_single_table_is_the_same_for_all_experiments(experiments, monkeypatch):
    main, _ = experiments
    folder = main / "reports" / "measured"
    folder.mkdir()
    (folder / "scaling.csv").write_text("images,seconds\n100,0.5\n")
    for experiment in experiments:
        monkeypatch.chdir(experiment)
        assert measured.measured_table("scaling")["seconds"].tolist() == [0.5]
