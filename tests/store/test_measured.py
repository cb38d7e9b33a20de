import pandas as pd
import pytest

from btsee_lib.errors import ArtefactError
from btsee_lib.store import measured


@pytest.fixture
def experiments(workspace, repository):
    """The folders of the main experiment and of a profile on another data set."""
    home = workspace / "reports" / "mine"
    home.mkdir(parents=True)
    (home / "dvc.yaml").touch()
    content = (repository / "params.yaml").read_text()
    (workspace / "params.yaml").write_text(content)
    (home / "params.yaml").write_text(content.replace("fashion-mnist", "cifar-10"))
    return workspace, home


def test_what_is_kept_is_read_by_data_set_in_every_experiment(experiments, monkeypatch):
    table = pd.DataFrame({"images": [100], "seconds": [1 / 3]})
    for number, experiment in enumerate(experiments):
        monkeypatch.chdir(experiment)
        measured.keep_by_data_set("scaling", {"grown": table * (number + 1)})
    for experiment in experiments:
        monkeypatch.chdir(experiment)
        found = measured.measured_by_data_set("scaling", "make scale")
        assert list(found) == ["cifar-10", "fashion-mnist"]
        assert found["fashion-mnist"]["grown"]["seconds"].tolist() == [0.333333]
        assert found["cifar-10"]["grown"]["images"].tolist() == [200]


def test_where_nothing_is_kept_a_sentence_says_what_to_do(experiments):
    with pytest.raises(ArtefactError, match="reports/measured/scaling holds no results: run 'make scale'"):
        measured.measured_by_data_set("scaling", "make scale")


def test_a_single_table_is_the_same_for_all_experiments(experiments, monkeypatch):
    main, _ = experiments
    folder = main / "reports" / "measured"
    folder.mkdir()
    (folder / "scaling.csv").write_text("images,seconds\n100,0.5\n")
    for experiment in experiments:
        monkeypatch.chdir(experiment)
        assert measured.measured_table("scaling")["seconds"].tolist() == [0.5]
