import pytest
from small_experiment import small_repository

from btsee_lib.store import results, studies


@pytest.fixture
def inside(repository, tmp_path, monkeypatch):
    """A small repository with a backbone and its features."""
    monkeypatch.chdir(small_repository(tmp_path / "small", repository))
    results.make_backbone_and_features(iter)


def test_the_studies_are_run_once(inside, monkeypatch):
    tables = studies.make_studies()
    assert {name: len(table) > 0 for name, table in tables.items()} == {
        "branch_kinds": True,
        "learning_curves": True,
    }
    monkeypatch.setattr(studies.branch_design, "branch_kind", None)
    again = studies.make_studies()
    assert all(again[name].equals(table) for name, table in tables.items())
