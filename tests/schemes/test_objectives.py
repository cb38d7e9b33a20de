import pytest
import torch
from torch.nn import functional

from btsee_lib import boosting, fitting
from btsee_lib.branches import branch_logits
from btsee_lib.schemes import SCHEMES
from btsee_lib.schemes.objectives import EARLIER, Additive, Distilled, Ensemble

GENERATOR = torch.Generator().manual_seed(0)
LOGITS, TEACHER, BEFORE = (torch.randn(6, 4, generator=GENERATOR) for _ in range(3))
TARGETS = torch.arange(6) % 4


def test_a_distilled_branch_loses_nothing_where_it_says_what_the_backbone_says():
    losses = Distilled().losses(LOGITS, TARGETS, LOGITS + 3.0, BEFORE)
    torch.testing.assert_close(losses, torch.zeros(6), atol=1e-6, rtol=0)


def test_distillation_is_the_divergence_at_temperature_four_times_sixteen():
    losses = Distilled().losses(LOGITS, TARGETS, TEACHER, BEFORE)
    p, q = (TEACHER / 4).softmax(-1), (LOGITS / 4).softmax(-1)
    torch.testing.assert_close(losses, 16 * (p * (p / q).log()).sum(-1))


def test_an_additive_branch_answers_and_learns_the_sum():
    assert torch.equal(Additive().answers(LOGITS, BEFORE), LOGITS + BEFORE)
    expected = functional.cross_entropy(LOGITS + BEFORE, TARGETS, reduction="none")
    torch.testing.assert_close(Additive().losses(LOGITS, TARGETS, TEACHER, BEFORE), expected)


def test_an_ensemble_answers_a_product_of_powers_and_learns_on_its_own():
    answered = Ensemble().answers(LOGITS, BEFORE).softmax(-1)
    product = LOGITS.softmax(-1) * BEFORE.softmax(-1) ** EARLIER
    torch.testing.assert_close(answered, product / product.sum(-1, keepdim=True))
    expected = functional.cross_entropy(LOGITS, TARGETS, reduction="none")
    torch.testing.assert_close(Ensemble().losses(LOGITS, TARGETS, TEACHER, BEFORE), expected)


PARTS = {"additive": 1.0, "additive, boosted": 1.0, "ensemble": EARLIER, "ensemble, boosted": EARLIER}


@pytest.mark.parametrize("name", PARTS)
def test_the_recorded_answers_of_branches_that_answer_together_are_the_sums_along_their_path(
    name, features, branch_parameters, boosting_parameters
):
    arguments = (features, branch_parameters, boosting_parameters, 0)
    trained = list(boosting.train_tree(SCHEMES[name], *arguments, chosen=[(-0.1, -0.1, -0.1)]))
    for split, part in features.items():
        total = torch.zeros_like(part.logits)
        for number, each in enumerate(trained, start=1):
            branch = fitting.initial_branch(number, features, branch_parameters, 0)
            branch.load_state_dict(each.state)
            total = branch_logits(branch, part.squeezed[number - 1]) + PARTS[name] * total
            torch.testing.assert_close(each.logits[split], total)
