"""Ways to train the branches of a cascade: one object a scheme, one table of them.

A scheme says whether a branch depends on how the branches before it are calibrated, what each training
sample weighs, and what the branch is to minimise. Everything else (``branches``, ``boosting``) is the same
for all of them: initial weights, order of the samples, number of visits.
"""

import torch
from torch import Tensor
from torch.nn import functional


class Scheme:
    """Conventional training: each branch on every sample. Other schemes say what they do otherwise.

    ``sequential`` tells whether a branch is trained behind given margins of the branches before it.
    """

    sequential: bool = False

    def weights(self, survivors: Tensor) -> Tensor:
        """What each training sample weighs, float (N,): zero leaves it out.

        Parameters
        ----------
        survivors : bool (N,), the training samples that the branches before this one pass on; all of them
            where the scheme is not sequential.
        """
        return torch.ones(len(survivors))

    def losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        """What a branch loses on each sample of a batch, float (n,), for logits (n, K), targets int64 (n,)."""
        return functional.cross_entropy(logits, targets, reduction="none")


class Boosted(Scheme):
    """BTS-EE: each branch on the survivors of the branches before it, as those are calibrated.

    Hard filter, after the abstract of arXiv 2509.08318.
    """

    sequential = True

    def weights(self, survivors: Tensor) -> Tensor:
        """One for each survivor, zero for all others."""
        return survivors.float()


SCHEMES: dict[str, Scheme] = {"independent": Scheme(), "boosted": Boosted()}
