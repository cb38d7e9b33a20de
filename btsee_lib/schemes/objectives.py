"""What a branch may learn or answer other than on its own: with the backbone, or with the branch before."""

from torch import Tensor
from torch.nn import functional

from btsee_lib.schemes.scheme import Boosted, Scheme

TEMPERATURE = 4.0
EARLIER = 0.5  # of an ensemble: what the answer before weighs beside that of the branch itself


class Distilled(Scheme):
    """Learns the backbone's softened probabilities in place of labels (Hinton 2015, arXiv 1503.02531)."""

    def losses(self, logits: Tensor, targets: Tensor, teacher: Tensor, before: Tensor) -> Tensor:
        """Return T^2 times the divergence of the branch's softened probabilities from the backbone's, (n,)."""
        said, taught = (functional.log_softmax(each / TEMPERATURE, -1) for each in (logits, teacher))
        return TEMPERATURE**2 * functional.kl_div(said, taught, reduction="none", log_target=True).sum(-1)


class DistilledBoosted(Distilled, Boosted):
    """The same on the survivors."""


class Additive(Scheme):
    """A branch corrects the one before: their logits are added (BoostNet, arXiv 2211.16726)."""

    def losses(self, logits: Tensor, targets: Tensor, teacher: Tensor, before: Tensor) -> Tensor:
        """Cross entropy of the sum, (n,); the branch before is trained already, and stays as it is."""
        return functional.cross_entropy(logits + before, targets, reduction="none")

    def answers(self, logits: Tensor, before: Tensor) -> Tensor:
        """The sum."""
        return logits + before


class AdditiveBoosted(Additive, Boosted):
    """The same on the survivors."""


class Ensemble(Scheme):
    """Exits answer together with those before: their probabilities are multiplied, earlier ones weigh less.

    A geometric ensemble as in Zero Time Waste (arXiv 2106.05409), which learns what each branch weighs.
    """

    def answers(self, logits: Tensor, before: Tensor) -> Tensor:
        """The logits, and a part of the answer before: a product of powers of probabilities."""
        return logits + EARLIER * before


class EnsembleBoosted(Ensemble, Boosted):
    """The same on the survivors."""
