import dataclasses

import pytest
import torch

from btsee_lib import boosting
from btsee_lib.schemes import SCHEMES
from btsee_lib.store.answers import with_answers
from btsee_lib.trees import tree_of

PATHS = [(-0.1, -0.1, -0.1), (-0.1, 0.0, -0.1)]


def answered_again(tree, features, branch_parameters):
    nothing = dataclasses.replace(tree, logits={})
    return with_answers(nothing, SCHEMES[tree.scheme].head, features, branch_parameters)


@pytest.mark.parametrize("scheme", ["independent", "boosted"])
def test_branches_answer_from_their_weights_just_as_after_their_training(
    scheme, trees, features, branch_parameters
):
    (tree,) = (each for each in trees if each.scheme == scheme)
    again = answered_again(tree, features, branch_parameters)
    assert all(torch.equal(again.logits[name], tree.logits[name]) for name in ("valid", "test"))
    changed = [{name: each * 1.5 for name, each in state.items()} for state in tree.states]
    other = answered_again(dataclasses.replace(tree, states=changed), features, branch_parameters)
    assert not any(
        torch.equal(one, two) for one, two in zip(other.logits["test"], tree.logits["test"], strict=True)
    )


@pytest.mark.parametrize("scheme", ["additive, boosted", "zero time waste, boosted", "learnt confidence"])
def test_exits_that_answer_together_do_so_along_their_path(
    scheme, features, branch_parameters, boosting_parameters
):
    arguments = (SCHEMES[scheme], features, branch_parameters, boosting_parameters, 0)
    tree = tree_of(scheme, 0, list(boosting.train_tree(*arguments, chosen=PATHS)))
    again = answered_again(tree, features, branch_parameters)
    assert all(torch.equal(again.logits[name], tree.logits[name]) for name in ("valid", "test"))


def test_a_closed_branch_answers_as_the_one_before_it(features, branch_parameters, boosting_parameters):
    of_branch_1 = len(features["valid"])  # more survivors than any later branch has
    too_many = boosting_parameters.model_copy(update={"min_survivors": of_branch_1})
    arguments = (SCHEMES["boosted"], features, branch_parameters, too_many, 0)
    tree = tree_of("boosted", 0, list(boosting.train_tree(*arguments, chosen=PATHS[:1])))
    assert tree.nodes["closed"].tolist() == [False, True, True]
    again = answered_again(tree, features, branch_parameters)
    for name in ("valid", "test"):
        assert torch.equal(again.logits[name], tree.logits[name])
        assert torch.equal(again.logits[name][2], again.logits[name][0])
