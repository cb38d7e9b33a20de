import dataclasses

import pytest
import torch
from torch.nn import functional

from btsee_lib.compute import new_fabric
from btsee_lib.data.splits import ImageSet
from btsee_lib.errors import TrainingError
from btsee_lib.features import walk_stages
from btsee_lib.studies.joint import JointTraining, answers, new_joint_network, train_jointly

CHANGES = {"epochs": 3, "reduced_epochs": 1}


@pytest.fixture(scope="module")
def few(splits):
    images = {name: getattr(splits, name) for name in ("train", "valid", "test")}
    return dataclasses.replace(
        splits, **{name: ImageSet(s.images[:300], s.labels[:300]) for name, s in images.items()}
    )


@pytest.fixture
def parameters(backbone_parameters):
    return backbone_parameters.model_copy(update=CHANGES)


@pytest.fixture
def network(few, parameters, branch_parameters):
    return new_joint_network(few, parameters, branch_parameters)


def weights_of(network):
    return {name: each.detach().clone() for name, each in network.named_parameters()}


def test_the_exits_of_a_network_are_its_branches_on_whole_images_and_its_backbone(network, few):
    images = few.normalise(few.test.images[:7])
    network.eval()
    with torch.no_grad():
        squeezed, logits = walk_stages(network.backbone, images)
        expected = [branch(grid) for branch, grid in zip(network.branches, squeezed, strict=True)]
        found = network.exits(images)
        last = network(images)
    torch.testing.assert_close(found, torch.stack([*expected, logits]))
    torch.testing.assert_close(last, logits)


def test_in_training_it_answers_with_all_exits_one_after_another(network, few):
    images = few.normalise(few.test.images[:7])
    network.train()
    with torch.no_grad():
        assert network(images).shape == (4 * 7, 10)


def test_what_is_lost_on_a_batch_is_the_mean_over_the_exits(network, few, parameters):
    training = JointTraining(network, few, parameters, new_fabric())
    seen = []
    network.train().register_forward_hook(lambda _, inputs, logits: seen.append(logits.detach()))
    batch = torch.arange(20)
    loss = float(training._step(batch, None)) / 20
    labels = few.train.labels[batch]
    of_exits = [functional.cross_entropy(logits, labels) for logits in seen[0].split(20)]
    assert len(of_exits) == 4
    assert loss == pytest.approx(float(torch.stack(of_exits).mean()), rel=1e-5)


def test_backbone_and_branches_learn_together_and_every_exit_tells_classes_apart(
    splits, backbone_parameters, branch_parameters
):
    parameters = backbone_parameters.model_copy(update={"epochs": 4})  # enough: all are right of two thirds
    network = new_joint_network(splits, parameters, branch_parameters)
    before = weights_of(network)
    train_jointly(network, splits, parameters, new_fabric())
    assert not network.training
    assert all(not torch.equal(each, before[name]) for name, each in weights_of(network).items())
    right = (answers(network, splits)["valid"].argmax(-1) == splits.valid.labels).double().mean(1)
    assert right.shape == (4,)
    assert (right > 0.5).all()


def test_a_training_is_decided_by_the_seed(few, parameters, branch_parameters):
    parameters = parameters.model_copy(update={"epochs": 1})
    logits = []
    for _ in range(2):
        network = new_joint_network(few, parameters, branch_parameters)
        train_jointly(network, few, parameters, new_fabric())
        logits.append(answers(network, few)["test"])
        torch.seed()
    assert torch.equal(*logits)


def test_a_loss_that_is_no_number_ends_the_training_in_a_sentence(network, few, parameters):
    with torch.no_grad():
        network.branches[1].classifier.weight[:] = torch.nan
    with pytest.raises(TrainingError, match=r"joint loss is nan in epoch 1: lower backbone\.learning_rate"):
        train_jointly(network, few, parameters, new_fabric())
