"""Exit heads: what a branch learns, or an exit answers, with the backbone or with the exit before."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from btsee_lib.schemes.scheme import Head

TEMPERATURE = 4.0


def softened_divergence(logits: Tensor, teacher: Tensor) -> Tensor:
    """T^2 times the divergence of the branch's softened probabilities from the backbone's, (n,)."""
    own, taught = (functional.log_softmax(each / TEMPERATURE, -1) for each in (logits, teacher))
    return TEMPERATURE**2 * functional.kl_div(own, taught, reduction="none", log_target=True).sum(-1)


class Distilled(Head):
    """Learns the backbone's softened probabilities in place of labels (Hinton 2015, arXiv 1503.02531)."""

    def forward(self, logits: Tensor, targets: Tensor, teacher: Tensor, before: Tensor) -> Tensor:
        """The divergence from the backbone."""
        return softened_divergence(logits, teacher)


class HalfDistilled(Head):
    """Learns both, labels and the backbone's softened probabilities, half and half."""

    def forward(self, logits: Tensor, targets: Tensor, teacher: Tensor, before: Tensor) -> Tensor:
        """The mean of cross entropy and divergence."""
        labelled = functional.cross_entropy(logits, targets, reduction="none")
        return (labelled + softened_divergence(logits, teacher)) / 2


class Additive(Head):
    """A branch corrects the exit before: their logits are added (BoostNet, arXiv 2211.16726)."""

    def forward(self, logits: Tensor, targets: Tensor, teacher: Tensor, before: Tensor) -> Tensor:
        """Cross entropy of the sum; the exit before is trained already, and stays as it is."""
        return functional.cross_entropy(logits + before, targets, reduction="none")

    def answers(self, logits: Tensor, before: Tensor) -> Tensor:
        """The sum."""
        return logits + before


class ZeroTimeWaste(Head):
    """Reads the answer of the exit before, and answers as an ensemble with it; both learnt (arXiv 2106.05409).

    The connection adds a linear map of the normalised logits before to those of the branch. The ensemble is a
    product of powers of both probabilities and of a prior a class; it learns from what the branch says and does
    not change that. ZTW connects branches, weighs each earlier branch by itself at every exit, and learns that
    in the end. Here a branch reads, and weighs, the ensemble that the exit before answers, and all is learnt at
    once. The first exit reads nothing; its power and prior still change what it answers.
    """

    def __init__(self, classes: int):
        super().__init__(classes)
        self.connection = nn.Parameter(torch.zeros(classes, classes))  # at first the branch speaks alone
        self.log_powers = nn.Parameter(torch.zeros(2))
        self.prior = nn.Parameter(torch.zeros(classes))

    def forward(self, logits: Tensor, targets: Tensor, teacher: Tensor, before: Tensor) -> Tensor:
        """Cross entropy of the connected branch, and that of the ensemble."""
        connected = self.connected(logits, before)
        together = self.ensemble(connected.detach(), before)
        return sum(functional.cross_entropy(each, targets, reduction="none") for each in (connected, together))

    def connected(self, logits: Tensor, before: Tensor) -> Tensor:
        """What the branch says that reads the exit before, (n, K)."""
        return logits + functional.layer_norm(before, before.shape[-1:]) @ self.connection

    def ensemble(self, connected: Tensor, before: Tensor) -> Tensor:
        """The logarithm of the product, (n, K), up to a constant a sample."""
        own, earlier = self.log_powers.exp()
        return own * connected.log_softmax(-1) + earlier * before.log_softmax(-1) + self.prior

    def answers(self, logits: Tensor, before: Tensor) -> Tensor:
        """The ensemble of the connected branch and the exit before."""
        return self.ensemble(self.connected(logits, before), before)


class LearntConfidence(Head):
    """Learns how sure to be: the logits are scaled by what a linear head reads of their probabilities.

    The class that an exit names stays the same. That how sure an exit is may be learnt is the idea of EENet
    (arXiv 2301.07099), which learns when to leave within a budget, and of PTEEnet (arXiv 2501.02508), where a
    network does it. What this head reads, and the formula, are ours.
    """

    def __init__(self, classes: int):
        super().__init__(classes)
        self.slopes = nn.Parameter(torch.zeros(3))  # at first the scale is 1
        self.offset = nn.Parameter(torch.zeros(()))

    def forward(self, logits: Tensor, targets: Tensor, teacher: Tensor, before: Tensor) -> Tensor:
        """Cross entropy of the branch, and that of the scaled logits, from which the head alone learns."""
        scaled = self.answers(logits.detach(), before)
        return sum(functional.cross_entropy(each, targets, reduction="none") for each in (logits, scaled))

    def answers(self, logits: Tensor, before: Tensor) -> Tensor:
        """The logits, scaled a sample by its largest probability, the lead of that and the entropy."""
        probabilities = logits.softmax(-1)
        first, second = probabilities.topk(2).values.unbind(-1)
        entropy = torch.special.entr(probabilities).sum(-1) / math.log(logits.shape[-1])
        read = torch.stack([first, first - second, entropy], -1)
        return logits * (read @ self.slopes + self.offset).exp()[..., None]
