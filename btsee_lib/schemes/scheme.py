"""What a way to train branches decides, and the two ways of the paper.

A scheme says whether a branch depends on how the branches before it are calibrated, what each training
sample weighs, what the branch is to minimise, and what it makes of the answer of the branch before.
Everything else (``branches``, ``boosting``) is the same for all of them: initial weights, the number of visits.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Known:
    """What a scheme may know of the N training samples when branch b is trained.

    ``survivors``: bool (N,), those that the branches before it pass on; all of them where the scheme is not
    sequential. ``excess``: float (b - 1, N), how far the confidence of each earlier branch lies above the
    threshold of the class that it names: the sample leaves there from 0 on. ``-inf`` where none may leave.
    """

    survivors: Tensor
    excess: Tensor


class Scheme:
    """Conventional training: each branch on every sample. Other schemes say what they do otherwise.

    ``sequential``: whether a branch is trained behind given margins of the branches before it. ``folds``: where
    it is 2 or more, a branch that did not train on a sample decides whether that sample survives, and for this
    the training samples are split into so many parts.
    """

    sequential: bool = False
    folds: int = 0

    def weights(self, known: Known) -> Tensor:
        """What each training sample weighs, float (N,): zero leaves it out."""
        return torch.ones(len(known.survivors))

    def phases(self, known: Known) -> list[tuple[float, Tensor]]:
        """The phases of the training: the share of the visits, and the weights (N,), of each."""
        return [(1.0, self.weights(known))]

    def losses(self, logits: Tensor, targets: Tensor, teacher: Tensor, before: Tensor) -> Tensor:
        """What a branch loses on each sample of a batch, float (n,).

        Parameters
        ----------
        logits : of the branch in training, (n, K).
        targets : int64 (n,), the labels to learn.
        teacher : logits of the backbone, (n, K).
        before : answers of the branch before, (n, K); zeros for the first branch.
        """
        return functional.cross_entropy(logits, targets, reduction="none")

    def answers(self, logits: Tensor, before: Tensor) -> Tensor:
        """What an exit answers, (N, K), from the logits of its branch and the answers of the one before."""
        return logits


class Boosted(Scheme):
    """BTS-EE: each branch on the survivors of the branches before it, as those are calibrated.

    Hard filter, after the abstract of arXiv 2509.08318.
    """

    sequential = True

    def weights(self, known: Known) -> Tensor:
        """One for each survivor, zero for all others."""
        return known.survivors.float()


PAPER_SCHEMES: dict[str, Scheme] = {"independent": Scheme(), "boosted": Boosted()}
