import dataclasses
import math

import pytest
import torch
from torchvision.models import resnet18

from btsee_lib.backbone import StagedResNet18, predict_logits, random_flip, train_backbone
from btsee_lib.data import ImageSet


@pytest.fixture(scope="module")
def torchvision_network():
    """The published network with weights and batch statistics that are not the initial ones."""
    torch.manual_seed(0)
    network = resnet18(num_classes=7)
    for name, values in network.state_dict().items():
        if name.endswith(("running_mean", "bn1.bias", "bn2.bias")):
            values.normal_(0, 0.1)
        elif name.endswith("running_var"):
            values.uniform_(0.5, 2)
    return network.eval()


def test_the_state_of_torchvisions_resnet18_loads_and_gives_equal_outputs(torchvision_network):
    staged = StagedResNet18(7, width=64, stem="imagenet")
    staged.load_state_dict(torchvision_network.state_dict())
    images = torch.randn(2, 3, 96, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(staged.eval()(images), torchvision_network(images))


def test_loading_leaves_the_given_state_as_it_was(torchvision_network):
    state = torchvision_network.state_dict()
    names = list(state)
    StagedResNet18(7, stem="imagenet").load_state_dict(state)
    assert list(state) == names


def test_its_own_state_loads_too(backbone):
    other = StagedResNet18(10, in_channels=1, width=8)
    other.load_state_dict(backbone.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(other.parameters(), backbone.parameters(), strict=True))


def test_a_state_of_another_width_or_stem_is_refused(torchvision_network):
    with pytest.raises(RuntimeError, match="size mismatch"):
        StagedResNet18(7, width=32, stem="imagenet").load_state_dict(torchvision_network.state_dict())
    with pytest.raises(RuntimeError, match="size mismatch"):
        StagedResNet18(7, width=64, stem="small").load_state_dict(torchvision_network.state_dict())


def test_a_bad_stem_is_refused_with_the_good_ones():
    with pytest.raises(ValueError, match="stem is 'large': use 'small' or 'imagenet'"):
        StagedResNet18(10, stem="large")


@pytest.mark.parametrize(("stem", "sides"), [("small", [32, 16, 8]), ("imagenet", [8, 4, 2])])
def test_each_stage_doubles_the_channels_and_halves_the_sides(stem, sides):
    network = StagedResNet18(5, in_channels=2, width=4, stem=stem).eval()
    feature_map = torch.zeros(1, 2, 32, 32)
    shapes = [tuple((feature_map := stage(feature_map)).shape) for stage in network.stages]
    assert shapes == [(1, 4 * 2**b, side, side) for b, side in enumerate(sides)] + [(1, 5)]


def test_walking_the_stages_is_the_forward_pass(backbone, splits):
    images = splits.normalise(splits.valid.images[:8])
    walked = images
    for stage in backbone.stages:
        walked = stage(walked)
    assert torch.equal(walked, backbone(images))


def test_predicted_logits_are_those_of_the_forward_pass_in_any_batches(backbone, splits):
    images = splits.valid.images[:100]
    expected = backbone(splits.normalise(images))
    for batch_size in (100, 30, 1):
        logits = predict_logits(backbone, splits, images, batch_size)
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def test_training_learns_and_records_every_epoch(history_and_backbone, splits, backbone_parameters):
    history, backbone = history_and_backbone
    assert history["epoch"].tolist() == [1, 2, 3, 4, 5, 6]
    assert (history["learning_rate"] > 0).all()
    assert history["learning_rate"].max() < backbone_parameters.learning_rate
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0]
    right = predict_logits(backbone, splits, splits.valid.images).argmax(1) == splits.valid.labels
    assert history["valid_accuracy"].iloc[-1] == pytest.approx(float(right.float().mean()))
    assert history["valid_accuracy"].iloc[-1] > 0.6


@pytest.fixture(scope="module")
def few(splits):
    images = {name: getattr(splits, name) for name in ("train", "valid")}
    return dataclasses.replace(
        splits, **{name: ImageSet(s.images[:90], s.labels[:90]) for name, s in images.items()}
    )


def trained(splits, parameters, **changes):
    torch.manual_seed(0)
    network = StagedResNet18(10, in_channels=1, width=8)
    torch.seed()  # from here on only the seed among the parameters may decide
    history = train_backbone(network, splits, parameters.model_copy(update=changes))
    return history, torch.cat([each.detach().flatten() for each in network.parameters()])


def test_training_is_decided_by_the_seed(few, backbone_parameters):
    changes = {"epochs": 3, "reduced_epochs": 1}
    (history, weights), (again, same), (_, other) = (
        trained(few, backbone_parameters, seed=seed, **changes) for seed in (1, 1, 2)
    )
    assert history.equals(again)
    assert torch.equal(weights, same)
    assert not torch.equal(weights, other)


@pytest.mark.parametrize("images", [1, 40, 90])
@pytest.mark.parametrize("epochs", [1, 2, 4])
def test_any_small_number_of_steps_can_be_trained(few, backbone_parameters, images, epochs):
    short = dataclasses.replace(few, train=ImageSet(few.train.images[:images], few.train.labels[:images]))
    history, weights = trained(short, backbone_parameters, epochs=epochs, reduced_epochs=0, batch_size=30)
    assert len(history) == epochs
    assert weights.isfinite().all()


def test_the_first_epochs_see_images_of_the_reduced_size(few, backbone_parameters):
    sides = []
    network = StagedResNet18(10, in_channels=1, width=8)
    network.register_forward_pre_hook(
        lambda module, inputs: sides.append(inputs[0].shape[2:]) if module.training else None
    )
    changes = {"epochs": 3, "reduced_epochs": 2, "reduced_size": 12, "batch_size": 90}
    train_backbone(network, few, backbone_parameters.model_copy(update=changes))
    assert sides == [(12, 12), (12, 12), (28, 28)]


def test_progress_wraps_the_epochs(few, backbone_parameters):
    seen = []

    def progress(epochs):
        seen.extend(epochs)
        return epochs

    network = StagedResNet18(10, in_channels=1, width=8)
    train_backbone(network, few, backbone_parameters.model_copy(update={"epochs": 3}), progress)
    assert seen == [1, 2, 3]


def test_the_loss_on_few_images_starts_near_that_of_guessing(few, backbone_parameters):
    history, _ = trained(few, backbone_parameters, epochs=1, reduced_epochs=0, learning_rate=1e-4)
    assert history["train_loss"].iloc[0] == pytest.approx(math.log(10), rel=0.5)


def test_a_flip_mirrors_about_half_of_the_images_and_changes_nothing_else():
    images = torch.randint(
        0, 256, (400, 2, 3, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    flipped = random_flip(images, torch.Generator().manual_seed(0))
    same = (flipped == images).flatten(1).all(1)
    mirrored = (flipped == images.flip(3)).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 150 < int(mirrored.sum()) < 250
    assert torch.equal(flipped, random_flip(images, torch.Generator().manual_seed(0)))
