from pathlib import Path

import pytest

from btsee_lib.errors import ArtefactError
from btsee_lib.pipeline import explorer
from btsee_lib.plots.explorer import read_page, write_page


@pytest.fixture
def two_experiments(workspace, monkeypatch):
    """A repository of a main experiment, whose artefacts are there, and a profile, whose artefacts are not."""
    home = workspace / "reports" / "other"
    home.mkdir(parents=True)
    (home / "dvc.yaml").touch()
    monkeypatch.setattr(explorer, "experiments", lambda: {"main": workspace, "other": home})

    def numbers():
        if Path.cwd() == home:
            raise ArtefactError("artifacts/other/backbone does not exist")
        return {"name": "main", "title": "trained anew"}

    monkeypatch.setattr(explorer, "numbers_here", numbers)
    return workspace / "docs" / "explorer.html"


def test_an_experiment_without_artefacts_stays_on_the_page_as_it_stands(two_experiments):
    write_page(two_experiments, [{"name": "main", "title": "old"}, {"name": "other", "title": "<kept>"}])
    explorer.write_explorer()
    assert read_page(two_experiments) == [
        {"name": "main", "title": "trained anew"},
        {"name": "other", "title": "<kept>"},
    ]


def test_an_experiment_that_has_never_been_on_the_page_is_left_out(two_experiments, capsys):
    explorer.write_explorer()
    assert [each["name"] for each in read_page(two_experiments)] == ["main"]
    assert "other: left out: artifacts/other/backbone does not exist" in capsys.readouterr().out
