import pytest
from small_experiment import inside_small_repository

from btsee_lib.store import joint_results, results
from btsee_lib.store.measured import measured_comparison
from btsee_lib.studies import joint


@pytest.fixture(scope="module")
def measured(repository, small_backbone, tmp_path_factory):
    """A small repository in which backbone and branches have been trained together."""
    root = tmp_path_factory.mktemp("joint") / "small"
    with inside_small_repository(root, repository, small_backbone):
        results.make_trees()
        joint_results.measure_joint()
    return root


@pytest.fixture
def tables(measured, monkeypatch):
    monkeypatch.chdir(measured)
    return measured_comparison("joint")["fashion-mnist"]


def test_the_tables_tell_of_both_ways_and_of_every_exit(tables):
    assert set(tables) == {"curves", "gains", "exits"}
    assert set(tables["curves"]["training"]) == {"independent", "joint"}
    assert tables["exits"]["exit"].tolist() == [1, 2, 3, 4]
    assert tables["exits"][["frozen", "joint"]].gt(0.1).all(axis=None)
    assert len(tables["gains"]) == 26


def test_a_network_that_is_there_is_not_trained_again(measured, tables, monkeypatch):
    monkeypatch.chdir(measured)

    def must_not_be_called(*_):
        raise AssertionError("trained again")

    monkeypatch.setattr(joint, "train_jointly", must_not_be_called)
    joint_results.measure_joint()
    again = measured_comparison("joint")["fashion-mnist"]
    assert all(again[name].equals(table) for name, table in tables.items())
