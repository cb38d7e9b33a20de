import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from btsee_lib import boosting
from btsee_lib.evaluation import BASELINE, BTS_EE
from btsee_lib.store import artefacts
from solar_cells import elpv, folds
from solar_cells.folds import EQUAL, TRAINED, UNEQUAL, make_fold

SMALL = {
    "backbone": {"epochs": 1},
    "branches": {"channels": [4, 4, 4], "epochs": 1},
    "boosting": {"seeds": [0, 1], "margins": [[-0.1, 0.0]] * 3, "min_support": 5, "min_survivors": 10},
}
DEAL = {"number": 1, "folds": 3, "miss_cost": 2}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """An experiment of its own, with the parameters of the solar cells made small."""
    home = tmp_path_factory.mktemp("industrial")
    parameters = yaml.safe_load((Path(__file__).parents[1] / "params.yaml").read_text())
    for section, values in SMALL.items():
        parameters[section] |= values
    (home / "dvc.yaml").touch()
    (home / "params.yaml").write_text(yaml.safe_dump(parameters))
    return home


@pytest.fixture(autouse=True)
def inside(home, monkeypatch):
    monkeypatch.chdir(home)


@pytest.fixture(scope="module")
def fold(home, cells):
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(home)
        return make_fold(cells, **DEAL)


def made_from(name):
    path = artefacts.folder_of(f"folds/fold_1/{name}") / artefacts.FINGERPRINT
    return json.loads(path.read_text())["made_from"]


def refuse(*_, **__):
    raise RuntimeError("it was to be trained again")


def test_a_fold_has_a_tree_for_each_kind_of_margins_and_scheme_and_seed(fold, cells):
    assert set(fold.trees) == {(kind, scheme) for kind in (EQUAL, UNEQUAL) for scheme in TRAINED}
    for (_, scheme), trees in fold.trees.items():
        assert [(tree.scheme, tree.seed) for tree in trees] == [(scheme, 0), (scheme, 1)]
    assert [len(fold.trees[EQUAL, cell.training][0].nodes) for cell in (BASELINE, BTS_EE)] == [3, 1 + 2 + 4]
    dealt = elpv.folds_of(cells, DEAL["folds"])
    assert sorted(fold.test) == np.flatnonzero(dealt == DEAL["number"]).tolist()
    assert fold.features["test"].labels.tolist() == cells.labels[fold.test].tolist()
    defective = cells.labels[elpv.positions_of(dealt, DEAL["number"])["train"]] == 1
    assert len(fold.features["train"]) == 2 * (len(defective) + defective.sum())


def test_margins_of_the_classes_make_no_difference_to_independent_branches(fold):
    pairs = zip(*(fold.trees[kind, BASELINE.training] for kind in (EQUAL, UNEQUAL)), strict=True)
    assert all(torch.equal(one.logits["test"], other.logits["test"]) for one, other in pairs)


def test_a_fold_that_is_there_is_loaded_and_equal(fold, cells, monkeypatch):
    monkeypatch.setattr(folds, "train_into", refuse)
    monkeypatch.setattr(folds.features, "store_features", refuse)
    monkeypatch.setattr(boosting, "train_tree", refuse)
    again = make_fold(cells, **DEAL)
    for key, trees in fold.trees.items():
        for one, other in zip(trees, again.trees[key], strict=True):
            assert torch.equal(one.logits["valid"], other.logits["valid"])


@pytest.mark.parametrize("changed", [{"folds": 4}, {"miss_cost": 3}])
def test_other_folds_or_another_cost_are_trained_anew(fold, cells, monkeypatch, changed):
    monkeypatch.setattr(folds, "train_into", refuse)
    with pytest.raises(RuntimeError, match="trained again"):
        make_fold(cells, **DEAL | changed)


def test_fingerprints_hold_what_a_fold_is_made_from(fold):
    backbone, features, tree = map(made_from, ("backbone", "features", f"{UNEQUAL}_{BTS_EE.training}_0"))
    assert {key: backbone[key] for key in ("fold", "folds", "miss_cost")} == {
        "fold": DEAL["number"],
        "folds": DEAL["folds"],
        "miss_cost": DEAL["miss_cost"],
    }
    assert set(features["inputs"]) == {"folds/fold_1/backbone"}
    assert set(tree["inputs"]) == {"folds/fold_1/features"}
    assert tree["parameters"]["boosting"]["seeds"] == [0]
    assert {"btsee_lib.boosting", "btsee_lib.schemes.scheme", "btsee_lib.branches"} <= set(tree["code"])
