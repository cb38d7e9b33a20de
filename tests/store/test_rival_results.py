import errno
from pathlib import Path

import pytest
import torch
import yaml
from small_experiment import inside_small_repository, small_repository

from btsee_lib.cost import count_macs
from btsee_lib.errors import ArtefactError
from btsee_lib.store import results, rival_results
from btsee_lib.studies.rivals import unpacked


@pytest.fixture(scope="module")
def measured(repository, tmp_path_factory):
    """A small repository in which narrower networks have been measured, at a half and at all of the width."""
    root = tmp_path_factory.mktemp("rivals") / "small"
    with inside_small_repository(root, repository) as patch:
        patch.setattr(rival_results, "SHARES", (0.5, 0.75))
        rival_results.measure_rivals()
    return root


@pytest.fixture
def splits(measured, monkeypatch):
    monkeypatch.chdir(measured)
    return results.load_data()


def test_a_row_tells_what_a_network_costs_and_of_which_images_it_is_right(measured, splits):
    found = rival_results.measured_rivals(splits)
    assert found["width"].tolist() == [4, 6]
    for row in found.itertuples():
        right = unpacked(row.right, len(splits.test))
        assert right.mean() == pytest.approx(row.accuracy)
        assert 0.05 < row.accuracy < 0.95
    assert found["macs"].is_monotonic_increasing


def test_the_costs_are_those_of_the_networks(splits):
    from btsee_lib.backbone import StagedResNet18

    network = StagedResNet18(10, in_channels=1, width=6)
    found = rival_results.measured_rivals(splits).set_index("width")
    assert found.loc[6, "macs"] == count_macs(network, torch.zeros(1, 1, 28, 28))


@pytest.mark.parametrize(("section", "change"), [("backbone", {"epochs": 1}), ("data", {"limit": 200})])
def test_networks_of_another_recipe_or_of_other_images_do_not_count(measured, splits, section, change):
    path = measured / "params.yaml"
    before = path.read_text()
    content = yaml.safe_load(before)
    content[section] |= change
    path.write_text(yaml.safe_dump(content))
    try:
        assert rival_results.measured_rivals(results.load_data()).empty
    finally:
        path.write_text(before)
    assert len(rival_results.measured_rivals(splits)) == 2


def test_what_is_written_down_is_not_trained_again_and_what_is_missing_is(measured, splits, monkeypatch):
    path = measured / "reports/measured/rivals.csv"
    before, trained = path.read_text(), []
    narrowest, *_ = before.splitlines()[1:]
    path.write_text(before.replace(narrowest + "\n", ""))
    make = rival_results.ensure_narrower
    monkeypatch.setattr(
        rival_results, "ensure_narrower", lambda name, *others: trained.append(name) or make(name, *others)
    )
    monkeypatch.setattr(rival_results, "SHARES", (0.5, 0.75, 1))
    rival_results.measure_rivals()
    assert trained == ["rivals/width_4", "static_backbone"]  # which is the network of that width
    assert path.read_text().startswith(before)
    path.write_text(before)


def test_where_nothing_was_measured_there_are_no_rows(repository, tmp_path, monkeypatch):
    monkeypatch.chdir(small_repository(tmp_path / "other", repository))
    found = rival_results.measured_rivals(results.load_data())
    assert found.empty
    assert list(found.columns) == rival_results.COLUMNS


def test_a_table_that_a_crash_has_emptied_is_named_with_the_remedy(measured, splits):
    path = measured / "reports/measured/rivals.csv"
    before = path.read_text()
    path.write_text("")
    with pytest.raises(
        ArtefactError, match=r"measured/rivals\.csv is empty: take it back from git, or delete it"
    ):
        rival_results.measured_rivals(splits)
    path.write_text(before)


def test_a_table_that_cannot_be_written_leaves_the_older_one(measured, splits, monkeypatch):
    path = measured / "reports/measured/rivals.csv"
    before = path.read_text()
    path.write_text("".join(before.splitlines(keepends=True)[:2]))
    older = path.read_text()

    def full(self, target):
        raise OSError(errno.ENOSPC, "no space left")

    with monkeypatch.context() as patch:
        patch.setattr(rival_results, "SHARES", (0.5, 0.75))
        patch.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="no space left"):
            rival_results.measure_rivals()
    assert path.read_text() == older
    path.write_text(before)
