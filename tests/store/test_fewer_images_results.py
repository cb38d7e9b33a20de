import pytest
from small_experiment import inside_small_repository

from btsee_lib.config import params
from btsee_lib.errors import ArtefactError
from btsee_lib.store import fewer_images_results
from btsee_lib.store.measured import measured_comparison
from btsee_lib.studies import branch_design, parts


@pytest.fixture(scope="module")
def measured(repository, small_backbone, tmp_path_factory):
    """A small repository in which boosting was tried on half of the training images and on all."""
    root = tmp_path_factory.mktemp("fewer") / "small"
    with inside_small_repository(root, repository, small_backbone) as patch:
        patch.setattr(parts, "PARTS", (0.5, 1.0))
        patch.setattr(branch_design, "WIDTHS", (4, 8))
        with pytest.raises(ArtefactError, match="make fewer-images"):
            measured_comparison("fewer_images")
        fewer_images_results.measure_fewer_images()
        return root, measured_comparison("fewer_images"), params("boosting").seeds


def test_the_tables_are_those_of_the_experiment_by_its_name(measured):
    _, tables, seeds = measured
    assert list(tables) == ["fashion-mnist"]
    table = tables["fashion-mnist"]["branches"]
    assert sorted(table["train_images"].unique()) == [150, 300]
    assert (table["train_survivors"] < table["train_images"]).all()
    assert set(table["seed"]) == set(seeds)
    assert {2, 3} == set(table["branch"])


def test_what_was_trained_is_kept(measured, monkeypatch):
    root, tables, _ = measured
    monkeypatch.chdir(root)
    monkeypatch.setattr(parts, "PARTS", (0.5, 1.0))
    monkeypatch.setattr(fewer_images_results.boosting, "train_tree", None)
    fewer_images_results.measure_fewer_images()
    again = measured_comparison("fewer_images")["fashion-mnist"]
    assert all(again[name].equals(table) for name, table in tables["fashion-mnist"].items())
