import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import one_hot

from btsee_lib import boosting, config
from btsee_lib.studies import survivors
from btsee_lib.features import SplitFeatures
from btsee_lib.store.results import SeedBranches

IMAGES = {"train": 10, "valid": 150, "test": 120}
CLASSES = 3
MARGINS = [-0.05, 0.1]
PATHS = [(), *((a,) for a in MARGINS), *((a, b) for a in MARGINS for b in MARGINS)]


def answers(labels, strength, generator):
    return strength * one_hot(labels, CLASSES) + torch.randn(len(labels), CLASSES, generator=generator)


@pytest.fixture(scope="module")
def few_limits():
    return config.Boosting(seeds=[0], margins=[MARGINS] * 3, bar_ceiling=1.0, min_support=3, min_survivors=20)


@pytest.fixture(scope="module")
def some_features():
    generator = torch.Generator().manual_seed(0)
    labels = {name: torch.randint(CLASSES, (n,), generator=generator) for name, n in IMAGES.items()}
    return {name: SplitFeatures((), answers(each, 3.5, generator), each) for name, each in labels.items()}


@pytest.fixture(scope="module")
def trained(some_features):
    """Branches drawn at random: three independent ones, and a tree of 1 + 2 + 4."""
    generator = torch.Generator().manual_seed(1)
    rows = [{"training": "independent", "branch": b} for b in (1, 2, 3)]
    rows += [
        {"training": "boosted", "branch": len(path) + 1, **{f"m{b}": m for b, m in enumerate(path, start=1)}}
        for path in PATHS
    ]
    nodes = pd.DataFrame(rows).assign(train_survivors=range(len(rows)), closed=False)
    logits = {
        name: torch.stack(
            [answers(some_features[name].labels, 1.7 + 0.3 * b, generator) for b in nodes["branch"].tolist()]
        )
        for name in ("valid", "test")
    }
    return SeedBranches(0, nodes, logits, states=[])


def as_independent(trained, shift):
    """The same tree in which every branch answers as the independent one does, its logits shifted."""
    rows = [b - 1 for b in trained.nodes["branch"].tolist()]
    logits = {
        name: each[rows] + shift * torch.arange(len(rows)).view(-1, 1, 1)
        for name, each in trained.logits.items()
    }
    return dataclasses.replace(trained, logits=logits)


def reached_by_hand(trained, features, path, limits):
    """The test images that pass the boosted branches before a path's end."""
    everyone = {name: torch.ones(IMAGES[name], dtype=torch.bool) for name in ("valid", "test")}
    for depth, margin in enumerate(path):
        position = 3 + PATHS.index(path[:depth])
        logits = {name: trained.logits[name][position] for name in everyone}
        everyone = boosting.who_remains(logits, everyone, features, margin, limits)
    return everyone["test"]


def test_every_boosted_branch_is_compared_on_the_survivors_that_reach_it(trained, some_features, few_limits):
    found = survivors.training_gains([trained], some_features, few_limits)
    labels = some_features["test"].labels
    gained, met = np.zeros(IMAGES["test"]), np.zeros(IMAGES["test"])
    assert len(found.table) == 2 + 4
    for row, path in zip(found.table.to_dict("records"), PATHS[1:], strict=True):
        reach = reached_by_hand(trained, some_features, path, few_limits)
        position, other = 3 + PATHS.index(path), len(path)
        right = [trained.logits["test"][node].argmax(1) == labels for node in (position, other)]
        assert (row["seed"], row["branch"], row["m1"]) == (0, len(path) + 1, path[0])
        assert row["train_survivors"] == position
        assert row["test_survivors"] == int(reach.sum())
        assert row["boosted_accuracy"] == pytest.approx(float(right[0][reach].double().mean()))
        assert row["independent_accuracy"] == pytest.approx(float(right[1][reach].double().mean()))
        gain = row["boosted_accuracy"] - row["independent_accuracy"]
        assert row["gain"] == pytest.approx(100 * gain, abs=1e-9)
        gained += (reach * (right[0].double() - right[1].double())).numpy()
        met += reach.numpy()
    assert np.array_equal(found.gained, gained)
    assert np.array_equal(found.met, met)
    assert 0 < met.sum() < 6 * IMAGES["test"]


def test_nothing_is_gained_where_boosted_branches_answer_as_independent_ones(
    trained, some_features, few_limits
):
    found = survivors.training_gains([as_independent(trained, shift=0.5)], some_features, few_limits)
    assert len(found.table) == 2 + 4
    assert (found.table["gain"] == 0).all()
    assert (found.gained == 0).all()
    assert found.met.sum() == found.table["test_survivors"].sum() > 0


def test_the_same_branch_behind_other_margins_counts_once_a_seed(trained, some_features, few_limits):
    same = as_independent(trained, shift=0.0)
    found = survivors.training_gains([same, dataclasses.replace(same, seed=1)], some_features, few_limits)
    assert found.table["seed"].tolist() == [0, 0, 1, 1]
    assert found.table["branch"].tolist() == [2, 3, 2, 3]


def test_a_closed_branch_has_no_row_and_passes_its_survivors_on(trained, some_features, few_limits):
    nodes = trained.nodes.copy()
    nodes["closed"] = (nodes["branch"] == 2) & (nodes["training"] == "boosted")
    closed = dataclasses.replace(trained, nodes=nodes)
    found = survivors.training_gains([closed], some_features, few_limits).table
    assert found["branch"].tolist() == [3] * 4
    for row in found.itertuples():
        reach = reached_by_hand(trained, some_features, (row.m1,), few_limits)
        assert row.test_survivors == int(reach.sum())


def test_test_labels_change_no_survivors(trained, some_features, few_limits):
    test = some_features["test"]
    other = some_features | {"test": dataclasses.replace(test, labels=(test.labels + 1) % CLASSES)}
    found, again = (survivors.training_gains([trained], each, few_limits) for each in (some_features, other))
    assert np.array_equal(found.met, again.met)
    assert not np.array_equal(found.gained, again.gained)


def test_the_shift_table_describes_every_group(some_features, trained):
    split = some_features["test"]
    everyone = torch.ones(IMAGES["test"], dtype=torch.bool)
    groups = {"all": everyone, "half": everyone & (torch.arange(IMAGES["test"]) < 60)}
    logits = list(trained.logits["test"][:2])
    found = survivors.shift_table(groups, split, logits, ("a", "b", "c"))
    assert list(found.columns) == ["group", "kind", "name", "value"]
    shares = found[found["kind"] == "class"]
    assert shares.groupby("group")["value"].sum().tolist() == pytest.approx([1, 1])
    value = found.set_index(["group", "kind", "name"])["value"]
    assert value["all", "number", "samples"] == 120
    assert value["half", "number", "samples"] == 60
    assert value["half", "class", "b"] == pytest.approx(split.labels[:60].tolist().count(1) / 60)
    for name, said in (("branch 1", logits[0]), ("branch 2", logits[1]), ("backbone", split.logits)):
        right = (said[:60].argmax(1) == split.labels[:60]).tolist()
        assert value["half", "accuracy", name] == pytest.approx(sum(right) / 60)
        confidence = said[:60].softmax(1).max(1).values.tolist()
        assert value["half", "confidence", name] == pytest.approx(sum(confidence) / 60)
    assert len(found) == 2 * (3 + 3 * 2 + 1)
