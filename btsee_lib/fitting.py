"""One branch: how it starts, what it learns, and what it may know of the branches before it.

Branch b of a seed starts from the same weights under every scheme and takes as many visits, so that schemes are
compared in pairs; branches that only name survivors, see ``CrossFitted``, are trained on top.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from btsee_lib.branches import branch_logits, new_branch, train_branch
from btsee_lib.features import Features, SplitFeatures
from btsee_lib.parallel import exactly
from btsee_lib.schemes.scheme import Head, Known, Scheme

if TYPE_CHECKING:
    from btsee_lib.config import BoostingParameters, BranchParameters

Survivors = dict[str, Tensor]
CHOICE_SPLITS = ("train", "valid")  # filtering and calibration never see the test split


class Earlier(NamedTuple):
    """A branch before the one in training.

    ``answers``: logits (N, K) on every split. ``excess``: of the training samples, (N,), see ``Known``.
    """

    answers: dict[str, Tensor]
    excess: Tensor


class Exit(NamedTuple):
    """A trained branch and its exit head, both on the CPU."""

    branch: nn.Module
    head: Head

    def answers(self, squeezed: Tensor, before: Tensor) -> Tensor:
        """What the exit answers, (N, K), for squeezed maps (N, C, G, G) and the answers before, (N, K)."""
        logits = branch_logits(self.branch, squeezed)
        with exactly(1), torch.inference_mode():
            return self.head.answers(logits, before)

    def state(self) -> dict[str, Tensor]:
        """The weights of the branch by their names, those of the head by ``head.`` and theirs."""
        of_head = {f"head.{name}": tensor for name, tensor in self.head.state_dict().items()}
        return self.branch.state_dict() | of_head


def branch_seed(seed: int, number: int) -> int:
    """Return the seed of branch ``number``: the same for all schemes, so they are paired."""
    return 1000 * seed + number


def initial_branch(number: int, features: Features, parameters: "BranchParameters", seed: int) -> nn.Module:
    """Return branch ``number`` (1, 2, ...) with the initial weights that belong to the seed."""
    train = features["train"]
    torch.manual_seed(branch_seed(seed, number))
    shape, classes = train.squeezed[number - 1].shape[1:], train.logits.shape[1]
    return new_branch(shape, classes, parameters.channels[number - 1], parameters.kernel_size)


def training_targets(train: SplitFeatures, parameters: "BranchParameters") -> Tensor:
    """What the branches learn to say, int64 (N,): the truth, or what the backbone says."""
    return train.labels if parameters.labels == "truth" else train.predicted


def everyone(features: Features) -> Survivors:
    """Return the survivors before any branch: all samples of train and valid."""
    return {name: torch.ones(len(features[name]), dtype=torch.bool) for name in CHOICE_SPLITS}


def answers_before(features: Features, earlier: Sequence[Earlier]) -> dict[str, Tensor]:
    """What the branch before answers on every split, (N, K); zeros where there is none."""
    none = {name: torch.zeros_like(split.logits) for name, split in features.items()}
    return none | (earlier[-1].answers if earlier else {})


def fit_exit(
    number: int,
    scheme: Scheme,
    features: Features,
    survivors: Survivors,
    branch_parameters: "BranchParameters",
    boosting_parameters: "BoostingParameters",
    seed: int,
    earlier: Sequence[Earlier] = (),
    left_out: Tensor | None = None,
) -> Exit | None:
    """Train branch ``number`` and its head by a scheme, or return None where the survivors are too few.

    Parameters
    ----------
    survivors : the samples that reach it, bool (N,) for train and valid.
    earlier : the branches before it.
    left_out : bool (N,), training samples that it must not see.
    """
    if min(int(survivors[name].sum()) for name in CHOICE_SPLITS) < boosting_parameters.min_survivors:
        return None
    train = features["train"]
    branch = initial_branch(number, features, branch_parameters, seed)
    head = scheme.head(train.logits.shape[1])
    none = torch.empty(0, len(train))
    known = Known(survivors["train"], torch.stack([each.excess for each in earlier]) if earlier else none)
    for share, weights in scheme.phases(known):
        train_branch(
            branch,
            train.squeezed[number - 1],
            training_targets(train, branch_parameters),
            branch_parameters.model_copy(update={"epochs": share * branch_parameters.epochs}),
            seed=branch_seed(seed, number),
            weights=weights if left_out is None else weights * ~left_out,
            losses=head,
            context=(train.logits, answers_before(features, earlier)["train"]),
        )
    return Exit(branch, head)
