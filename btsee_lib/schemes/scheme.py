"""What a way to train branches decides, and the two ways of the paper.

A scheme says whether a branch depends on how the branches before it are calibrated, and what each training
sample weighs. Its exit head says what the branch is to minimise, and what the exit makes of the branch's logits
and the answer of the exit before. Everything else (``branches``, ``boosting``) is the same for all of them:
initial weights, the number of visits.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
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


class Head(nn.Module):
    """An exit answers what its branch says, which learns the labels.

    Called in training, it tells what is lost on each sample of a batch. What parameters a head has are learnt
    together with those of the branch.

    Parameters
    ----------
    classes : their number, K.
    """

    def __init__(self, classes: int):
        super().__init__()

    def forward(self, logits: Tensor, targets: Tensor, teacher: Tensor, before: Tensor) -> Tensor:
        """What is lost on each sample of a batch, float (n,).

        Parameters
        ----------
        logits : of the branch in training, (n, K).
        targets : int64 (n,), the labels to learn.
        teacher : logits of the backbone, (n, K).
        before : answers of the exit before, (n, K); zeros for the first one.
        """
        return functional.cross_entropy(logits, targets, reduction="none")

    def answers(self, logits: Tensor, before: Tensor) -> Tensor:
        """What an exit answers, (N, K), from the logits of its branch and the answers of the exit before."""
        return logits


class Scheme:
    """Each branch on every sample.

    Conventional training; other schemes say what they do otherwise. ``sequential``: whether a branch is trained
    behind given margins of the branches before it. ``folds``: where it is 2 or more, a branch that did not
    train on a sample decides whether that sample survives; for this the training samples are split into so
    many parts.

    Parameters
    ----------
    head : the kind of exit head, made from the number of classes.
    """

    sequential: bool = False
    folds: int = 0

    def __init__(self, head: type[Head] = Head):
        self.head = head

    def weights(self, known: Known) -> Tensor:
        """What each training sample weighs, float (N,): zero leaves it out."""
        return torch.ones(len(known.survivors))

    def phases(self, known: Known) -> list[tuple[float, Tensor]]:
        """The phases of the training: the share of the visits, and the weights (N,), of each."""
        return [(1.0, self.weights(known))]


class Boosted(Scheme):
    """Each branch on the survivors of the branches before it, as those are calibrated: BTS-EE.

    Hard filter, after the abstract of arXiv 2509.08318.
    """

    sequential = True

    def weights(self, known: Known) -> Tensor:
        """One for each survivor, zero for all others."""
        return known.survivors.float()


PAPER_SCHEMES: dict[str, Scheme] = {"independent": Scheme(), "boosted": Boosted()}
