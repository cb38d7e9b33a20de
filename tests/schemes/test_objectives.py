import math

import pytest
import torch
from torch.nn import functional

from btsee_lib import boosting, fitting
from btsee_lib.branches import branch_logits
from btsee_lib.schemes import SCHEMES
from btsee_lib.schemes.objectives import Additive, Distilled, HalfDistilled, LearntConfidence, ZeroTimeWaste

GENERATOR = torch.Generator().manual_seed(0)
LOGITS, TEACHER, BEFORE = (torch.randn(6, 4, generator=GENERATOR) for _ in range(3))
TARGETS = torch.arange(6) % 4
HEADS = sorted({scheme.head for scheme in SCHEMES.values()}, key=lambda kind: kind.__name__)


def losses_of(head, logits=LOGITS, teacher=TEACHER):
    return head(logits, TARGETS, teacher, BEFORE)


def cross_entropy(logits):
    return functional.cross_entropy(logits, TARGETS, reduction="none")


def changed(head):
    """The head, with other weights than those that it starts from."""
    with torch.no_grad():
        for parameter in head.parameters():
            parameter += torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    return head


@pytest.mark.parametrize("kind", HEADS)
def test_a_head_tells_a_loss_and_an_answer_for_each_sample(kind):
    assert losses_of(kind(4)).shape == (6,)
    assert changed(kind(4)).answers(LOGITS, BEFORE).shape == (6, 4)


def test_a_distilled_branch_loses_nothing_where_it_says_what_the_backbone_says():
    torch.testing.assert_close(losses_of(Distilled(4), teacher=LOGITS + 3.0), torch.zeros(6), atol=1e-6, rtol=0)


def test_distillation_is_the_divergence_at_temperature_four_times_sixteen():
    p, q = (TEACHER / 4).softmax(-1), (LOGITS / 4).softmax(-1)
    torch.testing.assert_close(losses_of(Distilled(4)), 16 * (p * (p / q).log()).sum(-1))


def test_half_distilled_branches_learn_labels_and_backbone_alike():
    expected = (losses_of(Distilled(4)) + cross_entropy(LOGITS)) / 2
    torch.testing.assert_close(losses_of(HalfDistilled(4)), expected)


def test_an_additive_branch_answers_and_learns_the_sum():
    assert torch.equal(Additive(4).answers(LOGITS, BEFORE), LOGITS + BEFORE)
    torch.testing.assert_close(losses_of(Additive(4)), cross_entropy(LOGITS + BEFORE))


def test_zero_time_waste_answers_a_product_of_powers_by_hand():
    head = changed(ZeroTimeWaste(4))
    deviation = BEFORE.var(-1, correction=0, keepdim=True).add(1e-5).sqrt()
    own = LOGITS + (BEFORE - BEFORE.mean(-1, keepdim=True)) / deviation @ head.connection
    torch.testing.assert_close(head.connected(LOGITS, BEFORE), own)
    powers = head.log_powers.exp()
    product = own.softmax(-1) ** powers[0] * BEFORE.softmax(-1) ** powers[1] * head.prior.exp()
    answered = head.answers(LOGITS, BEFORE).softmax(-1)
    torch.testing.assert_close(answered, product / product.sum(-1, keepdim=True))
    expected = cross_entropy(own) + cross_entropy(head.answers(LOGITS, BEFORE))
    torch.testing.assert_close(losses_of(head), expected)


def test_the_first_branch_of_zero_time_waste_reads_nothing():
    head = changed(ZeroTimeWaste(4))
    assert torch.equal(head.connected(LOGITS, torch.zeros_like(BEFORE)), LOGITS)


def test_a_learnt_confidence_changes_how_sure_an_exit_is_and_not_what_it_names():
    assert torch.equal(LearntConfidence(4).answers(LOGITS, BEFORE), LOGITS), "it starts as it is"
    head = changed(LearntConfidence(4))
    answered = head.answers(LOGITS, BEFORE)
    assert torch.equal(answered.argmax(-1), LOGITS.argmax(-1))
    ordered = LOGITS.softmax(-1).sort(-1).values
    entropy = -(ordered * ordered.log()).sum(-1) / math.log(4)
    read = ordered[:, -1] * head.slopes[0] + (ordered[:, -1] - ordered[:, -2]) * head.slopes[1]
    scale = (read + entropy * head.slopes[2] + head.offset).exp()
    torch.testing.assert_close(answered, LOGITS * scale[:, None])


@pytest.mark.parametrize("kind", [ZeroTimeWaste, LearntConfidence])
def test_what_exits_answer_together_or_how_sure_they_are_does_not_change_what_the_branch_learns(kind):
    head, logits = changed(kind(4)), LOGITS.clone().requires_grad_()
    losses_of(head, logits).sum().backward()
    alone = LOGITS.clone().requires_grad_()
    cross_entropy(alone if kind is LearntConfidence else head.connected(alone, BEFORE)).sum().backward()
    torch.testing.assert_close(logits.grad, alone.grad)


def path_of(name, features, branch_parameters, boosting_parameters):
    """Train the branches of a scheme behind one configuration, and read each with its head."""
    arguments = (features, branch_parameters, boosting_parameters, 0)
    trained = list(boosting.train_tree(SCHEMES[name], *arguments, chosen=[(-0.1, -0.1, -0.1)]))
    for number, each in enumerate(trained, start=1):
        branch, head = fitting.initial_branch(number, features, branch_parameters, 0), SCHEMES[name].head(10)
        of_head = {key: value for key, value in each.state.items() if key.startswith("head.")}
        branch.load_state_dict({key: value for key, value in each.state.items() if key not in of_head})
        head.load_state_dict({key.removeprefix("head."): value for key, value in of_head.items()})
        yield each, branch, head


@pytest.mark.parametrize("name", sorted({scheme.head: name for name, scheme in SCHEMES.items()}.values()))
def test_the_recorded_answers_are_those_of_the_kept_heads_along_their_path(
    name, features, branch_parameters, boosting_parameters
):
    path = list(path_of(name, features, branch_parameters, boosting_parameters))
    for split, part in features.items():
        answers = torch.zeros_like(part.logits)
        for each, branch, head in path:
            logits = branch_logits(branch, part.squeezed[each.branch - 1])
            with torch.no_grad():
                answers = head.answers(logits, answers)
            torch.testing.assert_close(each.logits[split], answers)


@pytest.mark.parametrize("name", ["zero time waste", "learnt confidence"])
def test_heads_learn_together_with_their_branch(name, features, branch_parameters, boosting_parameters):
    for each, _, head in path_of(name, features, branch_parameters, boosting_parameters):
        fresh = SCHEMES[name].head(10).state_dict()
        moved = {key for key, value in head.state_dict().items() if not torch.equal(value, fresh[key])}
        expected = set(fresh) - ({"connection"} if each.branch == 1 else set())  # there is nothing before it
        assert moved == expected
