"""Exit rules with one bare threshold for all classes, on one number that is made of all probabilities."""

from torch import Tensor

from btsee_lib.calibration import ExitRule, Terms

# As far down as branches go that were taught by softened answers: they are less sure of what they know.
KNOBS = (*ExitRule.knobs, 0.45, 0.4, 0.35, 0.3, 0.25, 0.2, 0.15, 0.1)


class Confidence(ExitRule):
    """One threshold for all classes on the largest probability."""

    knobs = KNOBS


class Entropy(ExitRule):
    """One threshold for all classes on the entropy: BranchyNet (arXiv 1709.01686). Its knob is in nats."""

    knobs = (
        0.001, 0.005, 0.01, 0.03, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3,
        0.4, 0.5, 0.7, 0.9, 1.1, 1.3, 1.5, 1.7, 1.9, 2.1,
    )  # fmt: skip

    def confidence(self, logits: Tensor) -> Tensor:
        """The entropy of the softmax, negative: the less, the surer."""
        log_probability = logits.log_softmax(-1)
        return (log_probability.exp() * log_probability).sum(-1)

    def thresholds(
        self, confidence: Tensor, predicted: Tensor, labels: Tensor, knob: float, terms: Terms
    ) -> Tensor:
        """Let those out whose entropy is at most the knob."""
        return super().thresholds(confidence, predicted, labels, -knob, terms)


class DifferenceOfTwoLargest(ExitRule):
    """One threshold for all classes on the difference of the two largest probabilities.

    The "score margin" of Park et al. 2015, "Big/Little Deep Neural Network for Ultra Low Power Inference".
    """

    knobs = KNOBS

    def confidence(self, logits: Tensor) -> Tensor:
        """The largest probability less the second largest."""
        first, second = logits.softmax(-1).topk(2, -1).values.unbind(-1)
        return first - second
