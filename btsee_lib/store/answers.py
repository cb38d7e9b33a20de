"""What trained branches answer, worked out from their weights in seconds."""

from dataclasses import replace

import torch
from torch import Tensor

from btsee_lib.config import BranchParameters
from btsee_lib.features import Features
from btsee_lib.fitting import Exit, initial_branch
from btsee_lib.schemes.scheme import Head
from btsee_lib.trees import BranchTree

HEAD = "head."  # before the names of what a head has learnt


def with_answers(
    tree: BranchTree, head: type[Head], features: Features, parameters: BranchParameters
) -> BranchTree:
    """Let the branches of a tree answer the images of ``valid`` and ``test``, just as they did after training.

    Parameters
    ----------
    tree : its weights count, its logits do not.
    head : the kind of exit head of its scheme.

    Returns
    -------
    BranchTree
        The tree with ``logits``. A closed branch answers as the one before it, or zeros.
    """
    answers: dict[str, list[Tensor]] = {"valid": [], "test": []}
    for (number, margins), position in tree.position.items():
        trained = _exit_of(tree, position, number, head, features, parameters)
        for name, so_far in answers.items():
            split = features[name]
            before = (
                so_far[tree.position[number - 1, margins[:-1]]] if so_far else torch.zeros_like(split.logits)
            )
            so_far.append(trained.answers(split.squeezed[number - 1], before) if trained else before)
    return replace(tree, logits={name: torch.stack(each) for name, each in answers.items()})


def _exit_of(
    tree: BranchTree,
    position: int,
    number: int,
    head: type[Head],
    features: Features,
    parameters: BranchParameters,
) -> Exit | None:
    """Branch and head with the weights at a position of the tree; None where the branch is closed."""
    state = tree.states[position]
    if not state:
        return None
    branch = initial_branch(number, features, parameters, tree.seed)
    its_head = head(features["valid"].logits.shape[1])
    of_head = {name.removeprefix(HEAD): each for name, each in state.items() if name.startswith(HEAD)}
    branch.load_state_dict({name: each for name, each in state.items() if not name.startswith(HEAD)})
    its_head.load_state_dict(of_head)
    return Exit(branch, its_head)
