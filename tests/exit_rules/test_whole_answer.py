import math

import pytest
import torch

from btsee_lib.exit_rules.whole_answer import DifferenceOfTwoLargest, Entropy


def logits_of(*probabilities):
    return torch.tensor(probabilities).log()


def test_the_difference_is_that_of_the_two_largest_wherever_they_stand():
    found = DifferenceOfTwoLargest().confidence(logits_of([0.2, 0.5, 0.3], [0.05, 0.05, 0.9]))
    assert found.tolist() == pytest.approx([0.2, 0.85])


def test_the_difference_tells_apart_what_the_largest_probability_does_not():
    even, uneven = DifferenceOfTwoLargest().confidence(logits_of([0.5, 0.25, 0.25], [0.5, 0.5 - 1e-6, 1e-6]))
    assert even > uneven


def test_a_branch_is_the_surer_by_entropy_the_less_there_is_of_it():
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1000.0, 0.0, 0.0, 0.0], [math.log(3.0), 0.0, -1e9, -1e9]])
    entropy = [math.log(4), 0.0, -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))]
    expected = [-each for each in entropy]
    assert Entropy().confidence(logits).tolist() == pytest.approx(expected, abs=1e-6)
