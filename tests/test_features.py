import numpy as np
import pytest
import torch
from conftest import FEATURES_BATCH

from btsee_lib.features import SPLITS, load_features, store_features, strip_pool, walk_stages


def test_strips_of_a_tiny_map_by_hand():
    feature_map = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[0.0, 0.0], [0.0, 4.0]]]])
    assert strip_pool(feature_map).tolist() == [[[1.5, 4.5, 2.0, 4.0], [0.0, 2.0, 0.0, 2.0]]]


@pytest.mark.parametrize("shape", [(1, 2, 3, 4), (2, 3, 3), (3, 3)])
def test_a_map_that_is_not_square_is_refused_with_its_shape(shape):
    with pytest.raises(ValueError, match="expects a map") as caught:
        strip_pool(torch.zeros(shape))
    assert str(shape) in str(caught.value)


@pytest.mark.parametrize("name", SPLITS)
def test_stored_features_are_those_computed_live(features, backbone, branches, splits, name):
    stored = features[name]
    images = getattr(splits, name).images
    for start in range(0, len(images), FEATURES_BATCH):
        batch = slice(start, start + FEATURES_BATCH)
        feature_map = splits.normalise(images[batch])
        for stage, branch, strips in zip(backbone.stages[:3], branches, stored.squeezed, strict=True):
            feature_map = stage(feature_map)
            torch.testing.assert_close(branch.squeeze(feature_map), strips[batch], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(backbone.stages[3](feature_map), stored.logits[batch], atol=1e-4, rtol=1e-4)


def test_stored_features_are_exactly_those_of_the_same_pass(features, backbone, splits):
    with torch.inference_mode():
        squeezed, logits = walk_stages(backbone, splits.normalise(splits.test.images[:FEATURES_BATCH]))
    for live, stored in zip(squeezed, features["test"].squeezed, strict=True):
        assert torch.equal(live, stored[:FEATURES_BATCH])
    assert torch.equal(logits, features["test"].logits[:FEATURES_BATCH])


@pytest.mark.parametrize("name", SPLITS)
def test_labels_and_predictions_stand_beside_the_features(features, splits, backbone, name):
    stored, split = features[name], getattr(splits, name)
    assert torch.equal(stored.labels, split.labels)
    assert len(stored) == len(split)
    assert torch.equal(stored.predicted, stored.logits.argmax(1))
    assert float((stored.predicted == stored.labels).float().mean()) > 0.6


def test_only_the_strips_are_stored(features):
    shapes = [tuple(strips.shape) for strips in features["test"].squeezed]
    assert shapes == [(1000, 8, 56), (1000, 16, 28), (1000, 32, 14)]
    assert all(strips.dtype == torch.float32 for strips in features["test"].squeezed)


def test_the_batch_size_changes_nothing_but_rounding(features, backbone, splits, tmp_path):
    store_features(backbone, splits, tmp_path, batch_size=333)
    for name, stored in load_features(tmp_path).items():
        pairs = zip(
            [*stored.squeezed, stored.logits], [*features[name].squeezed, features[name].logits], strict=True
        )
        for found, expected in pairs:
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_two_passes_write_equal_bytes(features_folder, backbone, splits, tmp_path):
    store_features(backbone, splits, tmp_path, FEATURES_BATCH)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted(path.name for path in features_folder.iterdir())
    assert all((tmp_path / name).read_bytes() == (features_folder / name).read_bytes() for name in names)


def test_a_pass_leaves_the_backbone_as_it_was(backbone, splits, tmp_path):
    before = {name: values.clone() for name, values in backbone.state_dict().items()}
    backbone.train()
    store_features(backbone, splits, tmp_path, FEATURES_BATCH)
    backbone.eval()
    assert all(torch.equal(before[name], values) for name, values in backbone.state_dict().items())


def test_changing_a_loaded_tensor_does_not_reach_the_file(features_folder):
    before = np.load(features_folder / "test_branch1.npy").copy()
    load_features(features_folder)["test"].squeezed[0].zero_()
    assert np.array_equal(np.load(features_folder / "test_branch1.npy"), before)
    assert before.any()
