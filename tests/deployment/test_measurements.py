import re

import pytest
import torch
from small_networks import four_layers

from btsee_lib import config
from btsee_lib.backbone import BACKBONES
from btsee_lib.cascade import Cascade
from btsee_lib.deployment import measurements
from btsee_lib.deployment.cascade_file import new_cascade
from btsee_lib.deployment.timed_models import BACKBONE, Model, forced_shares
from btsee_lib.deployment.timing import EAGER, ONE_MODEL, STAGES
from btsee_lib.errors import ParameterError


@pytest.fixture(scope="module")
def parameters():
    return config.DeploymentParameters(
        max_drops=[1.0],
        published_drop=1.0,
        threads=1,
        static_width=8,
        full_width=16,
        latency_images=20,
        batch_sizes=[1, 8],
        rounds=1,
    )


@pytest.fixture(scope="module")
def images(splits):
    return splits.test.images[:120].numpy()


@pytest.fixture(scope="module")
def models(description, images):
    """A cascade on an untrained network, which lets images out at every exit, and the network alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "four layers", four_layers)
        described = description.model_copy(update={"backbone": "four layers"})
        torch.manual_seed(1)  # under this seed some of the first images leave at every exit
        fresh = new_cascade(described)
        normalised = described.normalise(torch.from_numpy(images))
        thresholds = forced_shares(fresh, normalised, [0.4, 0.3, 0.2, 0.1], [False] * 3)
        thresholds -= 1e-4  # clear of every image's confidence, so that no rounding decides
        cascade = Cascade(fresh.backbone, fresh.branches, thresholds, fresh.image_shape)
        yield {"published": Model(cascade, described), BACKBONE: Model.without_exits(fresh.backbone, described)}


@pytest.fixture(scope="module")
def measured(models, images, parameters):
    return measurements.measure(models, "published", images, parameters)


def test_every_table_is_measured(measured):
    assert set(measured) == {"latency", "throughput", "exit_times", "latency_by_exit"}
    for name, table in measured.items():
        assert len(table), name


def test_latency_has_a_row_for_each_width_engine_and_model(measured):
    table = measured["latency"]
    assert set(table["width"]) == {8, 16}
    assert set(table["engine"]) == {EAGER, STAGES, ONE_MODEL}
    assert len(table) == 2 * 3 * 2
    assert (table["p50"] <= table["p95"]).all()
    alone = table[table["model"] == BACKBONE]
    assert (alone["time_ratio"] == 1).all()
    assert (alone["macs_ratio"] == 1).all()
    means = table.set_index(["width", "engine", "model"])["mean"]
    assert table[table["model"] == "published"]["time_ratio"].iloc[0] == pytest.approx(
        means[8, EAGER, "published"] / means[8, EAGER, BACKBONE]
    )


def test_the_mean_is_predicted_where_the_times_of_exits_apply(measured):
    table, by_exit = measured["latency"], measured["exit_times"]
    assert table["predicted"].notna().tolist() == (table["engine"] == ONE_MODEL).tolist()
    bare = table[(table["engine"] == ONE_MODEL) & (table["model"] == BACKBONE)].set_index("width")["predicted"]
    known = by_exit[(by_exit["branches"] == 0) & (by_exit["batch_size"] == 1)].set_index("width")[
        "milliseconds"
    ]
    assert bare.to_numpy() == pytest.approx(known.to_numpy())


def test_throughput_leaves_the_single_model_out(measured):
    table = measured["throughput"]
    assert set(table["engine"]) == {EAGER, STAGES}
    assert set(table["batch_size"]) == {1, 8}
    assert (table[table["model"] == BACKBONE]["time_ratio"] == 1).all()
    assert (table["lowest"] <= table["milliseconds"]).all()
    assert (table["milliseconds"] <= table["highest"]).all()
    assert (table["images_per_second"] * table["milliseconds"]).to_numpy() == pytest.approx(1000)


def test_exits_are_timed_with_all_branches_and_the_last_one_also_with_fewer(measured):
    for _, rows in measured["exit_times"].groupby(["width", "batch_size"]):
        ways = list(zip(rows["exit"], rows["branches"], strict=True))
        assert ways == [(1, 1), (2, 2), (3, 3), (4, 3), (4, 2), (4, 1), (4, 0)]
        assert rows["macs"].iloc[:4].is_monotonic_increasing
        assert rows["macs"].iloc[3:].is_monotonic_decreasing
    assert set(measured["exit_times"]["batch_size"]) == {1, measurements.BATCH}


def test_single_images_are_timed_with_the_exit_that_they_took(measured, models, images):
    table = measured["latency_by_exit"]
    taken = models["published"].answers(images).exit + 1
    assert set(taken[:20].tolist()) == {1, 2, 3, 4}
    assert sorted(table["exit"]) == sorted(taken.tolist())


def test_macs_are_of_the_images_that_were_timed(models, images, measured):
    for kind, number in (("latency", 20), ("throughput", 8)):
        table = measured[kind]
        for row in table[table["width"] == 8].itertuples():
            spent = {name: model.macs(images[:number]).mean() for name, model in models.items()}
            assert row.macs_ratio == pytest.approx(spent[row.model] / spent[BACKBONE])


def test_a_number_of_threads_that_torch_cannot_have_names_the_key_and_one_that_it_can(
    models, images, parameters, monkeypatch
):
    now = torch.get_num_threads()
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    many = parameters.model_copy(update={"threads": now + 1})
    message = (
        f"params.yaml: deployment.threads is {now + 1}, but torch runs with {now} threads, "
        f"and not with {now + 1}: set deployment.threads to {now}"
    )
    with pytest.raises(ParameterError, match=f"^{re.escape(message)}$"):
        measurements.measure(models, "published", images, many)


def test_what_goes_wrong_while_times_are_taken_is_not_blamed_on_the_threads(
    models, images, parameters, monkeypatch
):
    def fail(*_):
        raise RuntimeError("something else")

    monkeypatch.setattr(measurements, "at_full_width", fail)
    with pytest.raises(RuntimeError, match="something else"):
        measurements.measure(models, "published", images, parameters)
