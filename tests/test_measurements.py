import numpy as np
import pandas as pd
import pytest
import torch

from btsee_lib import config, engines, measurements
from btsee_lib.measurements import BACKBONE, Model


@pytest.fixture(scope="module")
def wanted():
    return config.Deployment(
        max_drops=[1.0],
        published_drop=1.0,
        threads=1,
        static_width=8,
        full_width=16,
        latency_images=20,
        batch_sizes=[1, 8],
        rounds=2,
        compile=False,
    )


@pytest.fixture(scope="module")
def images(splits):
    return splits.test.images[:120].numpy()


@pytest.fixture(scope="module")
def models(cascade, backbone, description):
    bare = measurements.without_exits(backbone, description)
    return {"published": Model(cascade, description), BACKBONE: bare}


@pytest.fixture(scope="module")
def measured(models, images, wanted):
    return measurements.measure(models, "published", images, wanted)


def test_a_network_without_exits_answers_as_the_backbone(models, features, images, description):
    exits = measurements.exits_of(models[BACKBONE], images)
    assert set(exits.tolist()) == {3}
    found = engines.eager(*models[BACKBONE])(images).label
    assert torch.equal(found, features["test"].predicted[:120])


def test_every_table_is_measured(measured):
    assert set(measured) == set(measurements.TABLES)
    for name, table in measured.items():
        assert name == "energy" or len(table), name


def test_latency_has_a_row_for_each_width_engine_and_model(measured):
    table = measured["latency"]
    assert set(table["width"]) == {8, 16}
    assert set(table["engine"]) == {engines.EAGER, engines.STAGES, engines.ONE_MODEL}
    assert len(table) == 2 * 3 * 2
    assert (table["p50"] <= table["p95"]).all()
    alone = table[table["model"] == BACKBONE]
    assert (alone["time"] == 1).all()
    assert (alone["macs"] == 1).all()
    ratio = table.set_index(["width", "engine", "model"])["mean"]
    assert table[table["model"] == "published"]["time"].iloc[0] == pytest.approx(
        ratio[8, engines.EAGER, "published"] / ratio[8, engines.EAGER, BACKBONE]
    )


def test_throughput_leaves_the_single_model_out(measured):
    table = measured["throughput"]
    assert set(table["engine"]) == {engines.EAGER, engines.STAGES}
    assert set(table["batch_size"]) == {1, 8}
    assert (table[table["model"] == BACKBONE]["time"] == 1).all()


def test_exits_cost_more_macs_the_later_they_are(measured):
    for _, rows in measured["exit_times"].groupby("width"):
        assert rows["exit"].tolist() == ["1", "2", "3", "4", BACKBONE]
        assert rows["macs"].iloc[:4].is_monotonic_increasing
        assert rows["macs"].iloc[4] < rows["macs"].iloc[3]


def test_single_images_are_timed_with_the_exit_that_they_took(measured, models, images):
    table = measured["latency_by_exit"]
    taken = measurements.exits_of(models["published"], images) + 1
    assert sorted(table["exit"]) == sorted(taken.tolist())


def test_copies_at_another_width_let_the_same_shares_out(models, images):
    copies = measurements.at_full_width(models, images, 16)
    assert copies[BACKBONE].description.width == 16
    expected = measurements.exit_shares(models["published"], images)
    assert measurements.exit_shares(copies["published"], images) == pytest.approx(expected, abs=0.03)


def test_macs_are_of_the_images_that_were_timed(models, images, measured):
    table = measured["throughput"]
    spent = {name: measurements.macs_of(model, images) for name, model in models.items()}
    for row in table[table["width"] == 8].itertuples():
        assert row.images == 48
        expected = spent[row.model][:48].mean() / spent[BACKBONE][:48].mean()
        assert row.macs == pytest.approx(expected)
    assert (measured["latency"]["images"] == 20).all()
    assert 0.25 < spent["published"].mean() / spent[BACKBONE].mean() < 1


def test_where_compiling_fails_the_reason_is_kept(models, images, wanted, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no C++ compiler\nand a long trace")

    monkeypatch.setattr(engines, "compiled", broken)
    runners, table = measurements.try_compile(
        models, "published", images, wanted.model_copy(update={"compile": True})
    )
    assert runners == {}
    assert table.to_dict("records") == [{"works": False, "seconds": 0.0, "reason": "no C++ compiler"}]


def test_recorded_times_are_those_that_were_published(workspace):
    assert measurements.recorded_timings() is None
    folder = workspace / "reports" / "tables"
    folder.mkdir(parents=True)
    for name in measurements.TABLES:
        pd.DataFrame({"name": [name]}).to_csv(folder / f"{name}.csv", index=False)
    found = measurements.recorded_timings()
    assert {name: table["name"].iloc[0] for name, table in found.items()} == {n: n for n in measurements.TABLES}


def test_the_machine_is_named(wanted):
    told = measurements.machine_table(wanted.threads).set_index("name")["value"]
    assert told["threads used"] == 1
    assert {"processor", "cores", "torch", "onnxruntime"} <= set(told.index)
    assert np.all(told.notna())
