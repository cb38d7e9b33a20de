import dataclasses
import shutil

import pytest
import torch
from made_up import assert_equal_trees
from small_experiment import inside_small_repository

from btsee_lib import boosting
from btsee_lib.config import params
from btsee_lib.errors import ArtefactError
from btsee_lib.schemes import SCHEMES
from btsee_lib.store import artefacts, results
from btsee_lib.store.tree_artefact import write_weights
from btsee_lib.trees import tree_of


@pytest.fixture(scope="module")
def small(repository, small_backbone, tmp_path_factory):
    """A small repository, the artefact of its boosted branches, these, and as they came from training."""
    root = tmp_path_factory.mktemp("tree") / "small"
    with inside_small_repository(root, repository, small_backbone):
        stored = results.load_stored_features()
        _, artefact = results.tree_artefacts()
        scheme, of_boosting = SCHEMES[artefact.scheme], params("boosting")
        made = results.ensure_tree(artefact, scheme, lambda: stored, of_boosting)
        trained = boosting.train_tree(scheme, stored, params("branches"), of_boosting, artefact.seed)
        return root, artefact, made, tree_of(artefact.scheme, artefact.seed, list(trained))


@pytest.fixture
def inside(small, monkeypatch):
    """The same with the repository as the working directory; what a test does to its branches is undone."""
    root, *others = small
    monkeypatch.chdir(root)
    shutil.copytree(root / "artifacts/cascades", root / "before")
    yield others
    shutil.rmtree(root / "artifacts/cascades")
    (root / "before").rename(root / "artifacts/cascades")


def never():
    raise AssertionError("made again")


def test_a_tree_is_read_as_it_was_trained_and_not_made_again(inside):
    artefact, made, trained = inside
    assert_equal_trees(made, trained)
    assert_equal_trees(artefact.require("boosted_branches"), made)
    assert_equal_trees(artefact.ensure(never, never), made)
    assert made.position == trained.position


def test_a_closed_branch_is_read_as_one(inside):
    artefact, _, trained = inside
    nodes, states = trained.nodes.copy(), [*trained.states[:-1], {}]
    nodes.loc[len(nodes) - 1, "closed"] = True
    closed = dataclasses.replace(trained, nodes=nodes, states=states)
    shutil.rmtree(artefacts.folder_of(artefact.name))
    artefacts.ensure(artefact.name, artefact.made_from, lambda folder: write_weights(folder, closed))
    again = artefact.ensure(never, results.load_stored_features)
    assert again.position == closed.position
    logits = {name: each.clone() for name, each in trained.logits.items()}
    for each in logits.values():
        each[-1] = each[trained.position[2, (0.2,)]]  # of the branch before it
    assert_equal_trees(again, dataclasses.replace(closed, logits=logits))


def test_answers_are_those_of_the_weights_that_lie_beside_them(inside):
    """As where git keeps weights of another machine, which differ by a little although nothing else does."""
    artefact, made, trained = inside
    first, *states = trained.states
    first = first | {"classifier.weight": first["classifier.weight"] * 0.9}
    other = dataclasses.replace(trained, states=[first, *states])
    shutil.rmtree(artefacts.folder_of(artefact.name))
    artefacts.ensure(artefact.name, artefact.made_from, lambda folder: write_weights(folder, other))
    assert not artefact.is_there()
    with pytest.raises(
        ArtefactError, match=r"weights is .* expected .*: run 'dvc repro boosted_branches' first"
    ):
        artefact.require("boosted_branches")
    again = artefact.ensure(never, results.load_stored_features)
    assert not torch.equal(again.logits["valid"][0], made.logits["valid"][0])
    assert torch.equal(again.logits["valid"][1], made.logits["valid"][1])
    assert artefact.is_there()


@pytest.mark.parametrize("missing", ["", "_answers"])
def test_weights_or_answers_that_are_missing_are_named(inside, missing):
    artefact, *_ = inside
    shutil.rmtree(artefacts.folder_of(artefact.name + missing))
    assert not artefact.is_there()
    with pytest.raises(ArtefactError, match=f"{artefact.name}{missing} does not exist: run 'dvc repro"):
        artefact.require("boosted_branches")
