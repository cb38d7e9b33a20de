"""Softer ways than the hard filter to let a branch learn from what it will meet."""

import torch
from torch import Tensor

from btsee_lib.schemes.scheme import Boosted, Head, Known


class Mixture(Boosted):
    """Survivors, and all others with a part of their weight.

    Parameters
    ----------
    share : what a sample weighs that has left, from 0 (the hard filter) to 1 (no filter).
    """

    def __init__(self, share: float, head: type[Head] = Head):
        super().__init__(head)
        self.share = share

    def weights(self, known: Known) -> Tensor:
        """One for each survivor, ``share`` for all others."""
        return torch.where(known.survivors, 1.0, self.share)


class SoftSurvivors(Boosted):
    """Each sample by how likely it gets here: a sigmoid of how far its confidence lies below the threshold.

    Our choice of formula, in the spirit of SoftCGT (arXiv 2509.17885).

    Parameters
    ----------
    steepness : of the sigmoid, a unit of confidence; the larger it is, the harder the filter.
    """

    def __init__(self, steepness: float, head: type[Head] = Head):
        super().__init__(head)
        self.steepness = steepness

    def weights(self, known: Known) -> Tensor:
        """The product, over the branches before, of the probability to stay."""
        return torch.sigmoid(-self.steepness * known.excess).prod(0)


class WarmStart(Boosted):
    """First on all samples, as long as then on the survivors."""

    def phases(self, known: Known) -> list[tuple[float, Tensor]]:
        """Half of the visits each; the first branch meets all samples, so it has one phase."""
        weights = self.weights(known)
        if known.survivors.all():
            return [(1.0, weights)]
        return [(0.5, torch.ones_like(weights)), (0.5, weights)]


class CrossFitted(Boosted):
    """Survivors of the training split as branches name them that did not train on them.

    A branch is surer of what it has learnt than of what it will meet, so more of the samples that it trained on
    leave than of others. Those that name survivors here train on half of the samples each, as in cross-fitting
    (Chernozhukov 2018, doi 10.1111/ectj.12097), and so they are weaker than the branch that is kept.
    """

    folds = 2
