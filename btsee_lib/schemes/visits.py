"""Another number of visits for each branch of a cascade, under any scheme."""

from collections.abc import Sequence

from torch import Tensor

from btsee_lib.schemes.scheme import Known, Scheme


class OwnVisits(Scheme):
    """A scheme of which each branch makes a part, or a multiple, of the visits that it would make.

    Parameters
    ----------
    scheme : decides everything else.
    shares : of the visits, one a branch.
    """

    def __init__(self, scheme: Scheme, shares: Sequence[float]):
        super().__init__(scheme.head)
        self.scheme, self.shares = scheme, tuple(shares)
        self.sequential, self.folds = scheme.sequential, scheme.folds

    def weights(self, known: Known) -> Tensor:
        """As the scheme has them."""
        return self.scheme.weights(known)

    def phases(self, known: Known) -> list[tuple[float, Tensor]]:
        """Those of the scheme, each with this branch's part of its visits."""
        mine = self.shares[len(known.excess)]  # a row for each branch before
        return [(mine * share, weights) for share, weights in self.scheme.phases(known)]
