"""Features of three classes, and trees of branches that were never trained, drawn at random."""

import torch
from torch.nn.functional import one_hot

from btsee_lib.features import SplitFeatures
from btsee_lib.trees import TrainedBranch, tree_of

CLASSES = 3


def made_up_features(images, generator):
    """A backbone that is mostly right, on so many images a split."""
    labels = {name: torch.randint(CLASSES, (n,), generator=generator) for name, n in images.items()}
    return {name: SplitFeatures((), answers(each, 3.5, generator), each) for name, each in labels.items()}


def made_up_tree(scheme, seed, features, paths, generator):
    """A branch behind each path, a tuple of margins or a branch number: later ones are right more often."""
    trained = []
    for path in paths:
        number, margins = (path, ()) if isinstance(path, int) else (len(path) + 1, path)
        logits = {
            name: answers(features[name].labels, 1.7 + 0.3 * number, generator) for name in ("valid", "test")
        }
        survivors = {"train_survivors": len(trained), "valid_survivors": len(trained)}
        trained.append(TrainedBranch(number, margins, **survivors, closed=False, state={}, logits=logits))
    return tree_of(scheme, seed, trained)


def paths_of(margins):
    """The paths of a tree of 1 + 2 + 4 branches behind two margins."""
    return [(), *((a,) for a in margins), *((a, b) for a in margins for b in margins)]


def answers(labels, strength, generator):
    """Logits that are the surer of the label the greater the strength, with noise."""
    return strength * one_hot(labels, CLASSES) + torch.randn(len(labels), CLASSES, generator=generator)


def assert_equal_trees(first, second):
    """Fail unless two trees hold the same branches, with the same weights and answers."""
    assert (first.scheme, first.seed) == (second.scheme, second.seed)
    assert first.nodes.equals(second.nodes)
    assert list(first.logits) == list(second.logits)
    assert all(torch.equal(first.logits[name], second.logits[name]) for name in first.logits)
    for state, other in zip(first.states, second.states, strict=True):
        assert list(state) == list(other)
        assert all(torch.equal(state[name], other[name]) for name in state)
