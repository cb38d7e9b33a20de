import pytest

from btsee_lib import config
from btsee_lib.deployment import measurements
from btsee_lib.deployment.timed_models import BACKBONE, Model, exits_of, macs_of, without_exits
from btsee_lib.deployment.timing import EAGER, ONE_MODEL, STAGES


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
def models(cascade, backbone, description):
    bare = without_exits(backbone, description)
    return {"published": Model(cascade, description), BACKBONE: bare}


@pytest.fixture(scope="module")
def measured(models, images, parameters):
    return measurements.measure(models, "published", images, parameters)


def test_every_table_is_measured(measured):
    assert set(measured) == set(measurements.TABLES)
    for name, table in measured.items():
        assert name == "energy" or len(table), name


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


def test_exits_are_timed_with_all_branches_and_the_last_one_also_with_fewer(measured):
    for _, rows in measured["exit_times"].groupby(["width", "batch_size"]):
        ways = list(zip(rows["exit"], rows["branches"], strict=True))
        assert ways == [(1, 1), (2, 2), (3, 3), (4, 3), (4, 2), (4, 1), (4, 0)]
        assert rows["macs"].iloc[:4].is_monotonic_increasing
        assert rows["macs"].iloc[3:].is_monotonic_decreasing
    assert set(measured["exit_times"]["batch_size"]) == {1, measurements.BATCH}


def test_single_images_are_timed_with_the_exit_that_they_took(measured, models, images):
    table = measured["latency_by_exit"]
    taken = exits_of(models["published"], images) + 1
    assert sorted(table["exit"]) == sorted(taken.tolist())


def test_macs_are_of_the_images_that_were_timed(models, images, measured):
    for kind, number in (("latency", 20), ("throughput", 8)):
        table = measured[kind]
        for row in table[table["width"] == 8].itertuples():
            spent = {name: macs_of(model, images[:number]).mean() for name, model in models.items()}
            assert row.macs_ratio == pytest.approx(spent[row.model] / spent[BACKBONE])
