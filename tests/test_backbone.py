import pytest
import torch
from torchvision.models import resnet18

from btsee_lib.backbone import StagedResNet18, predict_logits


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
