import dataclasses
import itertools
import math
import os
import subprocess
import sys

import pytest
import torch

from btsee_lib.backbone import StagedResNet18, predict_logits
from btsee_lib.compute import new_fabric
from btsee_lib.data.splits import ImageSet
from btsee_lib.disk import Checkpoint
from btsee_lib.errors import ParameterError, TrainingError
from btsee_lib.training import (
    batch_sizes,
    narrowest,
    new_schedule,
    new_trained_backbone,
    share_of_batch,
    train_backbone,
)


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


def test_a_new_backbone_starts_and_is_trained_from_its_seed(few, backbone_parameters):
    parameters = backbone_parameters.model_copy(update={"epochs": 1, "seed": 4})
    torch.manual_seed(9)
    network, history = new_trained_backbone(few, parameters)
    again, same = new_trained_backbone(few, parameters)
    assert history.equals(same)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))
    assert (network.num_classes, network.in_channels, network.width) == (10, 1, 8)


@pytest.mark.parametrize("width", [8, 12])
def test_the_narrowest_convolution_decides_the_order_of_numbers(width):
    assert narrowest(StagedResNet18(10, in_channels=1, width=width)) == width


@pytest.mark.parametrize("images", [2, 31, 40, 90])
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


def test_a_narrow_network_survives_threads_with_unequal_parts_of_a_batch():
    """With channels last the process ends at a violation of memory, in a process of its own here."""
    code = (
        "import torch; from btsee_lib.backbone import StagedResNet18\n"
        "from btsee_lib.compute import training_format\n"
        "torch.set_num_threads(2)\n"
        "network = StagedResNet18(10, 1, 8).to(memory_format=training_format(8))\n"
        "images = torch.randn(101, 1, 28, 28).contiguous(memory_format=training_format(8))\n"
        "for _ in range(3): network(images).sum().backward()\n"
    )
    idle = os.environ | {"OMP_WAIT_POLICY": "passive"}  # a thread that waits takes nothing from other workers
    assert subprocess.run([sys.executable, "-c", code], env=idle, capture_output=True).returncode == 0


def test_a_last_image_alone_does_not_stop_a_network_that_ends_in_one_pixel(few, backbone_parameters):
    """Batch normalisation cannot take a variance of one value."""
    network = StagedResNet18(10, in_channels=1, width=8, stem="imagenet")
    short = dataclasses.replace(few, train=ImageSet(few.train.images[:31], few.train.labels[:31]))
    parameters = backbone_parameters.model_copy(update={"epochs": 1, "reduced_epochs": 0, "batch_size": 30})
    assert math.isfinite(train_backbone(network, short, parameters)["train_loss"].iloc[0])


@pytest.mark.parametrize(
    ("images", "processes", "expected"),
    [
        (90, 1, [30, 30, 30]),
        (92, 1, [30, 30, 30, 2]),
        (91, 1, [30, 30, 31]),
        (92, 2, [30, 30, 32]),
        (94, 2, [30, 30, 30, 4]),
        (20, 2, [20]),
    ],
)
def test_every_batch_has_two_images_a_process(images, processes, expected):
    assert batch_sizes(images, 30, processes) == expected


@pytest.mark.parametrize(("images", "batch_size"), [(90, 7), (7, 30)])
def test_batches_too_small_for_the_processes_are_refused_by_name(images, batch_size):
    with pytest.raises(
        ParameterError, match=rf"backbone\.batch_size is {batch_size} for {images} .* 4 processes need 8"
    ):
        batch_sizes(images, batch_size, 4)


@pytest.mark.parametrize(("number", "processes"), [(128, 1), (128, 2), (81, 2), (80, 3), (8, 4), (11, 4)])
def test_every_image_of_a_batch_falls_to_one_process_and_weighs_the_same(number, processes):
    losses = torch.rand(number, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shares = [share_of_batch(number, rank, processes) for rank in range(processes)]
    counted = torch.cat([share.positions for share in shares])
    assert sorted(counted.tolist()) == list(range(number))
    assert all(len(share.positions) > 1 for share in shares)
    average = sum(share.weight * losses[share.positions].mean() for share in shares) / processes
    assert float(average) == pytest.approx(float(losses.mean()))


def rates(top):
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=top)
    schedule, found = new_schedule(optimizer, top, steps=24), []
    for _ in range(24):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(found) < 24:
            schedule.step()
    return found


def test_the_learning_rate_rises_for_a_quarter_of_the_steps_and_then_falls_to_near_zero():
    cycle = rates(0.2)
    assert cycle.index(max(cycle)) == 5
    assert max(cycle) == pytest.approx(0.2)
    assert all(later < earlier for earlier, later in itertools.pairwise(cycle[5:]))
    assert cycle[-1] < 0.2 / 100


def test_a_crop_changes_what_is_learned(few, backbone_parameters):
    (_, plain), (_, cropped) = (
        trained(few, backbone_parameters, epochs=1, reduced_epochs=0, crop_padding=padding)
        for padding in (0, 2)
    )
    assert not torch.equal(plain, cropped)


class KilledError(Exception):
    pass


def killed_after(number):
    """A progress bar that stops the training after some epochs."""

    def progress(epochs):
        for epoch in epochs:
            if epoch > number:
                raise KilledError
            yield epoch

    return progress


@pytest.mark.parametrize("after", [1, 2])
def test_a_training_that_was_killed_and_resumed_gives_the_same_bytes(few, backbone_parameters, tmp_path, after):
    parameters = backbone_parameters.model_copy(
        update={"epochs": 3, "reduced_epochs": 1, "crop_padding": 2, "batch_size": 40}
    )

    def run(progress=iter, checkpoint=None):
        torch.manual_seed(0)
        network = StagedResNet18(10, in_channels=1, width=8)
        history = train_backbone(network, few, parameters, progress, checkpoint=checkpoint)
        return history, network.state_dict()

    expected, state = run()
    checkpoint = Checkpoint(tmp_path / "new" / "backbone.pt")
    with pytest.raises(KilledError):
        run(killed_after(after), checkpoint)
    seen = []
    history, resumed = run(lambda epochs: seen.extend(epochs) or epochs, checkpoint)
    assert seen == list(range(after + 1, 4))
    assert history.equals(expected)
    assert all(torch.equal(values, resumed[name]) for name, values in state.items())


def test_training_in_bfloat16_learns_about_the_same_and_leaves_float32_weights(few, backbone_parameters):
    histories = []
    for precision in ("32-true", "bf16-mixed"):
        torch.manual_seed(0)
        network = StagedResNet18(10, in_channels=1, width=8)
        parameters = backbone_parameters.model_copy(update={"epochs": 2, "reduced_epochs": 1})
        fabric = new_fabric(precision)
        histories.append(train_backbone(network, few, parameters, fabric=fabric))
        assert {values.dtype for values in network.parameters()} == {torch.float32}
    exact, rough = (history["train_loss"] for history in histories)
    assert not exact.equals(rough)
    assert rough.tolist() == pytest.approx(exact.tolist(), rel=0.05)


def test_a_training_that_diverges_stops_and_says_how_to_go_on(few, backbone_parameters, tmp_path):
    parameters = backbone_parameters.model_copy(update={"epochs": 3, "learning_rate": 1e6, "weight_decay": 1.0})
    checkpoint = Checkpoint(tmp_path / "state.pt")
    network = StagedResNet18(10, in_channels=1, width=8)
    with pytest.raises(TrainingError, match=r"loss is (nan|inf) in epoch \d: lower backbone.learning_rate"):
        train_backbone(network, few, parameters, checkpoint=checkpoint)
    kept = checkpoint.load()
    assert all(math.isfinite(row["train_loss"]) for row in (kept["rows"] if kept else []))
