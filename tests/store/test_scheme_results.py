from functools import partial

import numpy as np
import pandas as pd
import pytest
from small_experiment import inside_small_repository

from btsee_lib import boosting
from btsee_lib.cost import count_macs
from btsee_lib.schemes import SCHEMES
from btsee_lib.store import results, scheme_results
from btsee_lib.store.artefacts import kept
from btsee_lib.store.backbone_artefact import recipe
from btsee_lib.store.measured import measured_comparison
from btsee_lib.store.rival_results import COLUMNS, TABLE
from btsee_lib.studies import other_ways
from btsee_lib.studies.rivals import packed

FEW = {name: SCHEMES[name] for name in ("independent", "boosted", "additive, boosted")}
FEW_DRAWS = partial(other_ways.who_beats_whom, resamples=100)


def write_networks():
    """As if two narrower networks had been measured, one of which never errs."""
    splits = results.load_data()
    (backbone, _), images = results.load_backbone(splits), len(splits.test)
    macs = count_macs(backbone, splits.normalise(splits.test.images[:1]))
    rows = [(4, 0.1 * macs, True), (6, 0.8 * macs, False)]
    networks = pd.DataFrame(rows, columns=["width", "macs", "right"])
    networks["right"] = [packed(np.full(images, each)) for each in networks["right"]]
    path = kept(TABLE)
    path.parent.mkdir(parents=True, exist_ok=True)
    networks.assign(accuracy=0.5, made_from=recipe(splits))[COLUMNS].to_csv(path, index=False)


@pytest.fixture(scope="module")
def measured(repository, small_backbone, tmp_path_factory):
    """A small repository in which three schemes have been compared, and what was read back."""
    root = tmp_path_factory.mktemp("small")
    with inside_small_repository(root, repository, small_backbone) as patch:
        patch.setattr(scheme_results, "SCHEMES", FEW)
        patch.setattr(other_ways, "who_beats_whom", FEW_DRAWS)
        write_networks()
        scheme_results.measure_other_ways()
        return root, measured_comparison("other_ways")


def test_the_tables_of_a_data_set_are_read_back_by_its_name(measured):
    _, tables = measured
    assert list(tables) == ["fashion-mnist"]
    found = tables["fashion-mnist"]
    assert set(found) == {
        *"configurations standings pairs rules offers networks levers training effort".split()
    }
    for name in ("configurations", "standings", "rules", "offers", "training", "effort"):
        assert set(found[name]["training"]) == set(FEW), name
    assert set(found["configurations"]["calibration"]) == {"survivors"}
    assert len(found["configurations"]) == len(FEW) * 4  # rungs, of lists with two margins
    assert len(found["pairs"]) == 3
    over_networks = found["networks"].dropna(subset="reduction")
    assert over_networks["training"].iloc[-1] == "boosted"
    # The line goes from a network that is never right to one that always is: cascades fall behind along it.
    assert (over_networks.groupby(["training", "rule"])["gain"].agg(lambda gains: gains.diff().max()) < 0).all()
    assert (found["training"]["seconds"] > 0).all()
    assert found["training"].set_index("training").loc["boosted", "branches"] == 1 + 2 + 2


def test_what_has_been_trained_is_kept_and_another_scheme_trains_itself_alone(measured, monkeypatch):
    root, tables = measured
    monkeypatch.chdir(root)
    trained, train = [], boosting.train_tree

    def noted(scheme, *arguments, **others):
        trained.append(scheme)
        return train(scheme, *arguments, **others)

    monkeypatch.setattr(boosting, "train_tree", noted)
    monkeypatch.setattr(other_ways, "who_beats_whom", FEW_DRAWS)
    monkeypatch.setattr(scheme_results, "SCHEMES", FEW | {"mixture": SCHEMES["mixture"]})
    monkeypatch.setattr(scheme_results, "in_processes", lambda work, calls, _: [work(*each) for each in calls])
    scheme_results.measure_other_ways()
    assert trained == [SCHEMES["mixture"]]
    again = measured_comparison("other_ways")["fashion-mnist"]
    names = ["training", "max_drop", "drop", "reduction"]
    before = tables["fashion-mnist"]["standings"][names]
    after = again["standings"].loc[again["standings"]["training"].isin(FEW), names].reset_index(drop=True)
    pd.testing.assert_frame_equal(before, after)
