import shutil

import pytest
from small_experiment import small_repository, write_artefacts

from btsee_lib.store import artefacts, studies


@pytest.fixture
def inside(repository, small_backbone, tmp_path, monkeypatch):
    """A small repository with a backbone and its features; branches are tried at small widths."""
    monkeypatch.chdir(write_artefacts(small_repository(tmp_path / "small", repository), small_backbone))
    monkeypatch.setattr(studies.branch_design, "WIDTHS", (4, 8))


def test_the_studies_are_run_once_and_taken_over_where_they_are_kept_whole(inside, monkeypatch):
    tables = studies.make_studies()
    assert {name: len(table) > 0 for name, table in tables.items()} == {
        "branch_kinds": True,
        "learning_curves": True,
    }
    monkeypatch.setattr(studies.branch_design, "branch_kind", None)
    again = studies.make_studies()
    assert all(again[name].equals(table) for name, table in tables.items())

    artefacts.keep("studies")
    made = artefacts.folder_of("studies")
    before = {path.name: path.read_bytes() for path in made.iterdir()}
    shutil.rmtree(made)
    assert all(studies.make_studies()[name].equals(table) for name, table in tables.items())
    assert {path.name: path.read_bytes() for path in made.iterdir()} == before

    shutil.rmtree(made)
    kept = artefacts.kept("studies") / "branch_kinds.csv"
    kept.write_text(kept.read_text().replace("0.", "0.9", 1))
    with pytest.raises(TypeError, match="not callable"):  # trained again, since what is kept was altered
        studies.make_studies()
