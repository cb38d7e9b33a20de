import dataclasses

import numpy as np
import pytest
import torch
from made_up import CLASSES, made_up_features, made_up_tree, paths_of

from btsee_lib import boosting, config
from btsee_lib.studies import survivors

IMAGES = {"train": 10, "valid": 150, "test": 120}
MARGINS = [-0.05, 0.1]
PATHS = paths_of(MARGINS)


@pytest.fixture(scope="module")
def few_margins():
    return config.BoostingParameters(
        seeds=[0], margins=[MARGINS] * 3, bar_ceiling=1.0, min_support=3, min_survivors=20
    )


@pytest.fixture(scope="module")
def some_features():
    return made_up_features(IMAGES, torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def independent_tree(some_features):
    return made_up_tree("independent", 0, some_features, (1, 2, 3), torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def tree(some_features):
    """Boosted branches that were never trained, 1 + 2 + 4 of them."""
    return made_up_tree("boosted", 0, some_features, PATHS, torch.Generator().manual_seed(2))


def as_independent(tree, independent_tree, shift):
    """The same tree in which every branch answers as the independent one does, its logits shifted."""
    rows = [b - 1 for b in tree.nodes["branch"].tolist()]
    logits = {
        name: each[rows] + shift * torch.arange(len(rows)).view(-1, 1, 1)
        for name, each in independent_tree.logits.items()
    }
    return dataclasses.replace(tree, logits=logits)


def reached_by_hand(tree, features, path, parameters):
    """The images that pass the boosted branches before a path's end."""
    reach = {name: torch.ones(IMAGES[name], dtype=torch.bool) for name in ("valid", "test")}
    terms, labels = boosting.calibration_terms(features, parameters), features["valid"].labels
    for depth, margin in enumerate(path):
        logits = {name: tree.logits[name][PATHS.index(path[:depth])] for name in reach}
        reach = boosting.who_remains(logits, reach, labels, margin, terms)
    return reach


def test_survivors_are_those_that_the_branches_before_pass_on(tree, some_features, few_margins):
    terms = boosting.calibration_terms(some_features, few_margins)
    found = survivors.survivors_of(tree, some_features, few_margins, terms)
    assert list(found) == [(len(path) + 1, path) for path in PATHS]
    for (_, path), reached in found.items():
        expected = reached_by_hand(tree, some_features, path, few_margins)
        assert list(reached) == ["valid", "test"]
        assert all(torch.equal(reached[name], expected[name]) for name in reached)


def test_every_boosted_branch_is_compared_on_the_survivors_that_reach_it(
    tree, independent_tree, some_features, few_margins
):
    found = survivors.training_gains([independent_tree], [tree], some_features, few_margins)
    labels = some_features["test"].labels
    gained, met = (np.zeros((4, IMAGES["test"])) for _ in range(2))
    assert len(found.table) == 2 + 4
    for row, path in zip(found.table.to_dict("records"), PATHS[1:], strict=True):
        reach = reached_by_hand(tree, some_features, path, few_margins)["test"]
        position, other = PATHS.index(path), len(path)
        boosted, independent = (
            logits["test"][row].argmax(1) == labels
            for logits, row in ((tree.logits, position), (independent_tree.logits, other))
        )
        assert (row["seed"], row["branch"], row["m1"]) == (0, len(path) + 1, path[0])
        assert row["train_survivors"] == position
        assert row["test_survivors"] == int(reach.sum())
        assert row["boosted_accuracy"] == pytest.approx(float(boosted[reach].double().mean()))
        assert row["independent_accuracy"] == pytest.approx(float(independent[reach].double().mean()))
        gain = row["boosted_accuracy"] - row["independent_accuracy"]
        assert row["gain"] == pytest.approx(100 * gain, abs=1e-9)
        gained[row["branch"]] += (reach * (boosted.double() - independent.double())).numpy()
        met[row["branch"]] += reach.numpy()
    assert list(found.gained) == list(found.met) == [2, 3]
    for number in (2, 3):
        assert np.array_equal(found.gained[number], gained[number])
        assert np.array_equal(found.met[number], met[number])
    assert 0 < met.sum() < 6 * IMAGES["test"]


def test_nothing_is_gained_where_boosted_branches_answer_as_independent_ones(
    tree, independent_tree, some_features, few_margins
):
    same = as_independent(tree, independent_tree, shift=0.5)
    found = survivors.training_gains([independent_tree], [same], some_features, few_margins)
    assert len(found.table) == 2 + 4
    assert (found.table["gain"] == 0).all()
    assert not any(each.any() for each in found.gained.values())
    assert sum(each.sum() for each in found.met.values()) == found.table["test_survivors"].sum() > 0


def test_the_same_branch_behind_other_margins_counts_once_a_seed(
    tree, independent_tree, some_features, few_margins
):
    same = as_independent(tree, independent_tree, shift=0.0)
    pairs = [[each, dataclasses.replace(each, seed=1)] for each in (independent_tree, same)]
    found = survivors.training_gains(*pairs, some_features, few_margins)
    assert found.table["seed"].tolist() == [0, 0, 1, 1]
    assert found.table["branch"].tolist() == [2, 3, 2, 3]


def test_a_closed_branch_has_no_row_and_passes_its_survivors_on(
    tree, independent_tree, some_features, few_margins
):
    closed = dataclasses.replace(tree, nodes=tree.nodes.assign(closed=tree.nodes["branch"] == 2))
    found = survivors.training_gains([independent_tree], [closed], some_features, few_margins).table
    assert found["branch"].tolist() == [3] * 4
    for row in found.itertuples():
        reach = reached_by_hand(tree, some_features, (row.m1,), few_margins)
        assert row.test_survivors == int(reach["test"].sum())


def test_test_labels_change_no_survivors(tree, independent_tree, some_features, few_margins):
    test = some_features["test"]
    other = some_features | {"test": dataclasses.replace(test, labels=(test.labels + 1) % CLASSES)}
    found, again = (
        survivors.training_gains([independent_tree], [tree], features, few_margins)
        for features in (some_features, other)
    )
    for number in found.met:
        assert np.array_equal(found.met[number], again.met[number])
        assert not np.array_equal(found.gained[number], again.gained[number])


def test_the_shift_table_describes_every_group(some_features, tree):
    split = some_features["test"]
    everyone = torch.ones(IMAGES["test"], dtype=torch.bool)
    groups = {"all": everyone, "half": everyone & (torch.arange(IMAGES["test"]) < 60)}
    logits = list(tree.logits["test"][:2])
    found = survivors.shift_table(groups, split, logits, ("a", "b", "c"))
    assert list(found.columns) == ["group", "kind", "name", "value"]
    shares = found[found["kind"] == "class"]
    assert shares.groupby("group")["value"].sum().tolist() == pytest.approx([1, 1])
    value = found.set_index(["group", "kind", "name"])["value"]
    assert value["all", "number", "samples"] == 120
    assert value["half", "number", "samples"] == 60
    assert value["half", "class", "b"] == pytest.approx(split.labels[:60].tolist().count(1) / 60)
    for name, answers in (("branch 1", logits[0]), ("branch 2", logits[1]), ("backbone", split.logits)):
        right = (answers[:60].argmax(1) == split.labels[:60]).tolist()
        assert value["half", "accuracy", name] == pytest.approx(sum(right) / 60)
        confidence = answers[:60].softmax(1).max(1).values.tolist()
        assert value["half", "confidence", name] == pytest.approx(sum(confidence) / 60)
    assert len(found) == 2 * (3 + 3 * 2 + 1)


def test_the_class_mix_of_survivors_by_hand():
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)
    met = torch.zeros(100, dtype=torch.bool)
    met[40:60] = True  # half of them of class 0, half of class 1
    found = survivors.class_mix_shift(labels, met)
    assert found.distance == pytest.approx(0.2)
    assert found.low <= 0.2 <= found.high


def test_a_random_subset_is_no_other_population_and_one_class_is(some_features):
    labels = torch.arange(3000) % 10
    at_random = torch.rand(3000, generator=torch.Generator().manual_seed(0)) < 0.2
    found = survivors.class_mix_shift(labels, at_random)
    assert found.distance < found.by_chance
    other = survivors.class_mix_shift(labels, at_random & (labels < 5))
    assert other.distance == pytest.approx(0.5)
    assert other.low > other.by_chance


def test_where_all_branches_behind_the_first_are_closed_a_table_without_rows_has_its_columns(
    tree, independent_tree, some_features, few_margins
):
    full = survivors.training_gains([independent_tree], [tree], some_features, few_margins).table
    closed = dataclasses.replace(tree, nodes=tree.nodes.assign(closed=True))
    found = survivors.training_gains([independent_tree], [closed], some_features, few_margins)
    assert len(found.table) == 0
    assert list(found.table.columns) == [name for name in full.columns if name not in ("m1", "m2")]
    assert not any(each.any() for each in found.met.values())


def right_on(met, of_met, of_others):
    """Answers of a network: it is right on so many of the images met, and on so many of the others."""
    right = np.zeros(len(met), bool)
    for where, number in ((met, of_met), (~met, of_others)):
        right[np.flatnonzero(where)[:number]] = True
    return right


MET = np.arange(1000) < 400
ALONE = {
    "narrow": right_on(MET, 240, 540),
    "backbone": right_on(MET, 300, 580),
}  # they fall by 18 and 13 points


def test_a_branch_on_the_line_of_networks_falls_as_far_as_its_accuracy_explains():
    branch = right_on(MET, 270, 560)
    found = survivors.falls_on_survivors(ALONE | {"branch 2": branch}, MET).set_index("network")
    assert found["accuracy"].tolist() == pytest.approx([78, 88, 83])
    assert found["fall"].tolist() == pytest.approx([18, 13, 15.5])
    assert found.loc["branch 2", "beyond"] == pytest.approx(0)
    assert found["low"].lt(0.01).all() and found["high"].gt(-0.01).all()


def test_a_branch_of_the_same_accuracy_that_errs_where_it_is_met_falls_further():
    worse = right_on(MET, 240, 590)  # as many right as above
    found = survivors.falls_on_survivors(ALONE | {"branch 2": worse}, MET).set_index("network").loc["branch 2"]
    assert (found["accuracy"], found["fall"]) == pytest.approx((83, 23))
    assert found["expected"] == pytest.approx(15.5)
    assert 0 < found["low"] < found["beyond"] == pytest.approx(7.5)


def test_the_line_is_that_of_least_squares():
    alone = ALONE | {"third": right_on(MET, 280, 500)}
    found = survivors.falls_on_survivors(alone | {"branch 2": right_on(MET, 200, 500)}, MET)
    line = np.polynomial.Polynomial.fit(found["accuracy"][:3], found["fall"][:3], 1)
    assert found["expected"].tolist() == pytest.approx(line(found["accuracy"].to_numpy()).tolist())


def test_without_other_networks_or_without_survivors_nothing_can_be_expected():
    branch = right_on(MET, 270, 560)
    alone = survivors.falls_on_survivors({"backbone": ALONE["backbone"], "branch 2": branch}, MET)
    assert alone["fall"].tolist() == pytest.approx([13, 15.5])
    assert alone[["expected", "beyond", "low", "high"]].isna().all(axis=None)
    nobody = survivors.falls_on_survivors(ALONE | {"branch 2": branch}, np.zeros(1000, bool))
    assert nobody[["fall", "beyond", "low", "high"]].isna().all(axis=None)


def test_over_seeds_the_distance_from_the_line_is_the_mean():
    branches = [right_on(MET, 240, 590), right_on(MET, 270, 560)]
    of_seeds = [(ALONE | {"branch 2": branch}, MET) for branch in branches]
    mean, low, high = survivors.beyond_over_seeds(of_seeds)
    assert mean == pytest.approx((7.5 + 0) / 2)
    assert low < mean < high
    alone = survivors.falls_on_survivors(*of_seeds[0]).iloc[-1]
    assert survivors.beyond_over_seeds(of_seeds[:1]) == pytest.approx(tuple(alone[["beyond", "low", "high"]]))
