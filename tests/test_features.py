import contextlib
import copy
import dataclasses
import shutil

import numpy as np
import pytest
import torch
from measure_scaling import anonymous_memory

from btsee_lib import features as features_module
from btsee_lib.data.splits import ImageSet
from btsee_lib.errors import DataError, TrainingError
from btsee_lib.features import SPLITS, load_features, on_device_if_it_fits, store_features, walk_stages

FEWER = 500  # of the images of each split: two batches


@pytest.fixture(scope="module")
def fewer(splits):
    """The first images, for a pass that tells as much on them as on all."""
    parts = {name: getattr(splits, name) for name in SPLITS}
    first = {name: ImageSet(part.images[:FEWER], part.labels[:FEWER]) for name, part in parts.items()}
    return dataclasses.replace(splits, **first)


@pytest.mark.parametrize("name", SPLITS)
def test_stored_features_are_those_computed_live(
    features, backbone, branches, splits, name, feature_parameters
):
    stored = features[name]
    images = getattr(splits, name).images
    for start in range(0, len(images), feature_parameters.batch_size):
        batch = slice(start, start + feature_parameters.batch_size)
        feature_map = splits.normalise(images[batch])
        for stage, branch, grids in zip(backbone.stages[:3], branches, stored.squeezed, strict=True):
            feature_map = stage(feature_map)
            torch.testing.assert_close(branch.squeeze(feature_map), grids[batch], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(backbone.stages[3](feature_map), stored.logits[batch], atol=1e-4, rtol=1e-4)


def test_stored_features_are_exactly_those_of_the_same_pass(features, backbone, splits, feature_parameters):
    with torch.inference_mode():
        squeezed, logits = walk_stages(
            backbone, splits.normalise(splits.test.images[: feature_parameters.batch_size])
        )
    for live, stored in zip(squeezed, features["test"].squeezed, strict=True):
        assert torch.equal(live, stored[: feature_parameters.batch_size])
    assert torch.equal(logits, features["test"].logits[: feature_parameters.batch_size])


@pytest.mark.parametrize("name", SPLITS)
def test_labels_and_predictions_stand_beside_the_features(features, splits, backbone, name):
    stored, split = features[name], getattr(splits, name)
    assert torch.equal(stored.labels, split.labels)
    assert len(stored) == len(split)
    assert torch.equal(stored.predicted, stored.logits.argmax(1))
    assert float((stored.predicted == stored.labels).float().mean()) > 0.6


def test_only_the_grids_are_stored(features):
    shapes = [tuple(grids.shape) for grids in features["test"].squeezed]
    assert shapes == [(1000, 8, 7, 7), (1000, 16, 7, 7), (1000, 32, 4, 4)]
    assert all(grids.dtype == torch.float32 for grids in features["test"].squeezed)


def test_branches_that_squeeze_otherwise_have_features_of_their_own(
    features, backbone, fewer, tmp_path, feature_parameters
):
    def mean_and_spread(feature_map):
        return torch.stack([feature_map.mean((2, 3)), feature_map.std((2, 3))], dim=2)

    store_features(backbone, fewer, tmp_path, feature_parameters, squeeze=mean_and_spread)
    stored = load_features(tmp_path)["test"]
    assert [tuple(each.shape) for each in stored.squeezed] == [(FEWER, 8, 2), (FEWER, 16, 2), (FEWER, 32, 2)]
    assert torch.equal(stored.logits, features["test"].logits[:FEWER])
    # Where cells divide a map evenly, the mean over them is that of the map.
    for found, grids in list(zip(stored.squeezed, features["test"].squeezed, strict=True))[:2]:
        torch.testing.assert_close(found[..., 0], grids[:FEWER].mean((2, 3)), atol=1e-5, rtol=1e-5)


def test_the_batch_size_changes_nothing_but_rounding(features, backbone, fewer, tmp_path, feature_parameters):
    store_features(backbone, fewer, tmp_path, feature_parameters.model_copy(update={"batch_size": 166}))
    for name, stored in load_features(tmp_path).items():
        pairs = zip(
            [*stored.squeezed, stored.logits], [*features[name].squeezed, features[name].logits], strict=True
        )
        for found, expected in pairs:
            torch.testing.assert_close(found, expected[:FEWER], atol=1e-4, rtol=1e-4)


def test_two_passes_write_equal_bytes(features_folder, backbone, fewer, tmp_path, feature_parameters):
    folders = tmp_path / "first", tmp_path / "second"
    for folder in folders:
        folder.mkdir()
        store_features(backbone, fewer, folder, feature_parameters)
    first, second = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    assert sorted(first) == sorted(path.name for path in features_folder.iterdir())
    assert first == second


def test_a_pass_leaves_the_backbone_as_it_was(backbone, fewer, tmp_path, feature_parameters):
    before = {name: values.clone() for name, values in backbone.state_dict().items()}
    backbone.train()
    store_features(backbone, fewer, tmp_path, feature_parameters)
    backbone.eval()
    assert all(torch.equal(before[name], values) for name, values in backbone.state_dict().items())


def test_changing_a_loaded_tensor_does_not_reach_the_file(features_folder):
    before = np.load(features_folder / "test_branch1.npy").copy()
    load_features(features_folder)["test"].squeezed[0].zero_()
    assert np.array_equal(np.load(features_folder / "test_branch1.npy"), before)
    assert before.any()


def test_float16_halves_the_grids_and_keeps_the_logits(
    features, features_folder, backbone, fewer, tmp_path, feature_parameters
):
    store_features(backbone, fewer, tmp_path, feature_parameters.model_copy(update={"dtype": "float16"}))
    for name, stored in load_features(tmp_path).items():
        assert torch.equal(stored.logits, features[name].logits[:FEWER])
        for found, exact in zip(stored.squeezed, features[name].squeezed, strict=True):
            assert torch.equal(found, exact[:FEWER].half())
    sizes = [(folder / "test_branch1.npy").stat().st_size for folder in (features_folder, tmp_path)]
    assert sizes == [128 + 4 * 1000 * 8 * 49, 128 + 2 * FEWER * 8 * 49]


def test_a_disk_without_room_is_named_before_anything_is_written(
    backbone, splits, tmp_path, monkeypatch, feature_parameters
):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 99 * 10**7, 10**7))
    with pytest.raises(DataError, match=r"10 MB of disk space left, 21 MB are needed: .*dtype to float16"):
        store_features(backbone, splits, tmp_path, feature_parameters)
    assert list(tmp_path.iterdir()) == []


def test_each_process_fills_its_own_rows_of_every_file(
    features_folder, backbone, splits, tmp_path, feature_parameters
):
    class Process:
        """What a process of three knows."""

        world_size, device = 3, torch.device("cpu")
        barrier = autocast = staticmethod(contextlib.nullcontext)

        def __init__(self, rank):
            self.global_rank, self.is_global_zero = rank, rank == 0

    untouched = []
    for rank in (0, 2, 1):
        store_features(backbone, splits, tmp_path, feature_parameters, fabric=Process(rank))
        untouched.append(int((np.load(tmp_path / "test_logits.npy") == 0).all(1).sum()))
    assert untouched == [750, 250, 0]
    for path in features_folder.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def test_memory_does_not_grow_with_the_number_of_images(backbone, splits, tmp_path, feature_parameters):
    one = ImageSet(splits.test.images[:1], splits.test.labels[:1])
    many = ImageSet(one.images.expand(8000, -1, -1, -1), one.labels.expand(8000))
    few = dataclasses.replace(splits, train=many, valid=one, test=one)
    used = []
    hook = backbone.stages[0].register_forward_hook(lambda *_: used.append(anonymous_memory()))
    store_features(backbone, few, tmp_path, feature_parameters)
    hook.remove()
    written = sum(path.stat().st_size for path in tmp_path.iterdir()) / 1e6
    assert written > 40
    assert max(used) - max(used[:8]) < 20  # the allocator may keep a pair of feature maps, 12.5 MB


def test_grids_go_to_the_device_where_they_fit_and_stay_mapped_where_not(features, monkeypatch):
    meta = torch.device("meta")
    for fit, kind in ((True, "meta"), (False, "cpu")):
        monkeypatch.setattr(features_module, "fits", lambda number, device, fit=fit: fit)
        near = on_device_if_it_fits(features, meta)
        assert {grids.device.type for split in near.values() for grids in split.squeezed} == {kind}
        assert {split.logits.device.type for split in near.values()} == {"cpu"}


@pytest.mark.parametrize(("dtype", "scale"), [("float32", torch.nan), ("float16", 1e7)])
def test_answers_that_are_no_finite_numbers_are_not_stored(
    backbone, splits, tmp_path, feature_parameters, dtype, scale
):
    broken = copy.deepcopy(backbone)
    broken.stages[0][-1].register_forward_hook(lambda module, inputs, output: output * scale)
    parameters = feature_parameters.model_copy(update={"dtype": dtype})
    with pytest.raises(TrainingError, match=f"train_branch1.npy.*not finite as {dtype}"):
        store_features(broken, splits, tmp_path, parameters)
