import dataclasses

import pytest
import torch

from btsee_lib import boosting, fitting
from btsee_lib.backbone import StagedResNet18
from btsee_lib.branches import branch_logits
from btsee_lib.calibration import calibrate, class_precision, confidence_and_class, cpm_thresholds
from btsee_lib.cascade import simulate
from btsee_lib.config import FeatureParameters
from btsee_lib.data import fashion_mnist, load_splits
from btsee_lib.evaluation import Calibrator
from btsee_lib.exit_rules import EXIT_RULES
from btsee_lib.features import SPLITS, load_features, store_features
from btsee_lib.schemes import SCHEMES
from btsee_lib.training import train_backbone
from btsee_lib.trees import tree_of

INDEPENDENT, BOOSTED = SCHEMES["independent"], SCHEMES["boosted"]


def assert_equal_states(first, second):
    assert list(first) == list(second)
    assert len(first) > 0
    assert all(torch.equal(first[name], second[name]) for name in first)


def assert_equal_branches(first, second):
    assert_equal_states(first.state, second.state)
    for name in SPLITS:
        assert torch.equal(first.logits[name], second.logits[name])


def test_the_tree_has_a_node_for_every_combination_of_the_margins_before_it(boosted_tree, boosting_parameters):
    m1, m2, _ = boosting_parameters.margins
    assert [each.margins for each in boosted_tree if each.branch == 1] == [()]
    assert [each.margins for each in boosted_tree if each.branch == 2] == [(a,) for a in m1]
    assert [each.margins for each in boosted_tree if each.branch == 3] == [(a, b) for a in m1 for b in m2]
    assert len(boosted_tree) == 1 + 4 + 16


def test_the_configurations_are_all_combinations_of_the_margins(boosting_parameters):
    found = boosting.configurations(boosting_parameters)
    assert len(found) == len(set(found)) == 64
    assert found[0] == tuple(each[0] for each in boosting_parameters.margins)
    for each in found:
        assert all(m in allowed for m, allowed in zip(each, boosting_parameters.margins, strict=True))


def test_independent_branches_are_trained_on_everyone(independent):
    assert [each.branch for each in independent] == [1, 2, 3]
    assert all(each.margins == () for each in independent)
    assert all((each.train_survivors, each.valid_survivors) == (1000, 1000) for each in independent)


def test_the_first_branch_is_the_same_boosted_or_independent(boosted_tree, independent):
    assert_equal_branches(boosted_tree[0], independent[0])


def test_branches_behind_others_differ_from_the_independent_ones(boosted_tree, independent):
    behind = next(each for each in boosted_tree if each.branch == 2)
    assert behind.train_survivors < 1000
    assert not torch.equal(behind.logits["test"], independent[1].logits["test"])


def test_where_nothing_leaves_boosted_branches_are_the_independent_ones(
    features, branch_parameters, boosting_parameters, independent
):
    nothing_leaves = boosting_parameters.model_copy(update={"margins": [[-1.0]] * 3, "bar_ceiling": 2.0})
    tree = list(boosting.train_tree(BOOSTED, features, branch_parameters, nothing_leaves, seed=0))
    assert [each.train_survivors for each in tree] == [1000] * 3
    for boosted, other in zip(tree, independent, strict=True):
        assert_equal_branches(boosted, other)


def test_all_schemes_start_from_the_same_weights(features, branch_parameters):
    for number in (1, 2, 3):
        first, again = (fitting.initial_branch(number, features, branch_parameters, 5) for _ in range(2))
        other = fitting.initial_branch(number, features, branch_parameters, 6)
        assert_equal_states(first.state_dict(), again.state_dict())
        assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_a_branch_has_answers_on_every_split(boosted_tree, features, branch_parameters):
    for node in boosted_tree:
        branch = fitting.initial_branch(node.branch, features, branch_parameters, seed=0)
        branch.load_state_dict(node.state)
        assert list(node.logits) == list(SPLITS)
        for name, logits in node.logits.items():
            assert torch.equal(logits, branch_logits(branch, features[name].squeezed[node.branch - 1]))


def survivors_by_hand(path, boosted_tree, features, boosting_parameters):
    """Walk from the root to a node, taking out what the thresholds of each branch let leave."""
    valid = features["valid"]
    precision = class_precision(valid.predicted, valid.labels, 10)
    left = {name: torch.ones(1000, dtype=torch.bool) for name in ("train", "valid")}
    for depth, margin in enumerate(path):
        node = next(each for each in boosted_tree if each.margins == path[:depth])
        if node.closed:
            continue
        outputs = {name: confidence_and_class(node.logits[name]) for name in left}
        thresholds = cpm_thresholds(
            *(each[left["valid"]] for each in (*outputs["valid"], valid.labels)),
            (precision - margin).clamp(max=boosting_parameters.bar_ceiling),
            boosting_parameters.min_support,
        )
        for name, (confidence, predicted) in outputs.items():
            left[name] &= confidence < thresholds[predicted]
    return left


def test_the_survivors_of_a_node_are_those_the_thresholds_before_it_leave(
    boosted_tree, features, boosting_parameters
):
    for node in boosted_tree:
        left = survivors_by_hand(node.margins, boosted_tree, features, boosting_parameters)
        assert node.train_survivors == int(left["train"].sum())
        assert node.valid_survivors == int(left["valid"].sum())
    assert len({node.train_survivors for node in boosted_tree}) > 10


def test_a_node_is_trained_on_the_survivors_and_on_no_one_else(
    boosted_tree, features, branch_parameters, boosting_parameters
):
    node = next(each for each in boosted_tree if each.margins == (-0.15,))
    left = survivors_by_hand(node.margins, boosted_tree, features, boosting_parameters)
    kept = {
        name: dataclasses.replace(
            features[name],
            squeezed=tuple(
                torch.where(left[name].view(-1, 1, 1, 1), grids, torch.nan) if name == "train" else grids
                for grids in features[name].squeezed
            ),
        )
        for name in left
    }
    branch = fitting.fit_exit(2, BOOSTED, kept, left, branch_parameters, boosting_parameters, seed=0).branch
    assert_equal_states(branch.state_dict(), node.state)


def test_those_who_remain_are_those_whom_a_simulated_cascade_keeps(boosted_tree, features, terms):
    path = (-0.15, -0.1, -0.05)
    nodes = [next(each for each in boosted_tree if each.margins == path[:depth]) for depth in range(3)]
    outputs = {
        name: confidence_and_class(torch.stack([each.logits[name] for each in nodes]))
        for name in ("valid", "test")
    }
    labels = features["valid"].labels
    thresholds = calibrate(*outputs["valid"], labels, path, terms, "survivors")
    exits = {name: simulate(*outputs[name], features[name].predicted, thresholds).exit for name in outputs}
    reach = {name: torch.ones(1000, dtype=torch.bool) for name in outputs}
    for depth, (node, margin) in enumerate(zip(nodes, path, strict=True)):
        before = {name: mask.clone() for name, mask in reach.items()}
        remaining = boosting.who_remains(node.logits, reach, labels, margin, terms)
        for name in outputs:
            assert torch.equal(reach[name], before[name])
            assert torch.equal(remaining[name], exits[name] > depth)
            assert int(remaining[name].sum()) < int(reach[name].sum())
        reach = remaining


def test_a_stricter_class_keeps_more_of_its_samples_in_and_moves_no_other(boosted_tree, features, terms):
    logits, labels = boosted_tree[0].logits, features["valid"].labels
    predicted = logits["valid"].argmax(1)
    reach = {"valid": fitting.everyone(features)["valid"]}
    plain = dataclasses.replace(terms, ceiling=2.0)
    before = boosting.who_remains(logits, reach, labels, 0.0, plain)["valid"]
    c = int(predicted[~before].bincount().argmax())
    offsets = [-1.0 if each == c else 0.0 for each in range(10)]
    strict = dataclasses.replace(plain, class_margins=offsets)
    after = boosting.who_remains(logits, reach, labels, 0.0, strict)["valid"]
    assert after[predicted == c].all()
    assert not before[predicted != c].all()
    assert torch.equal(before[predicted != c], after[predicted != c])
    assert not before[predicted == c].all()


def test_the_terms_are_those_of_the_parameters_and_of_the_backbone_on_valid(features, boosting_parameters):
    asked = {"min_support": 7, "bar_ceiling": 1.5, "class_margins": [0.1] * 10}
    found = boosting.calibration_terms(features, boosting_parameters.model_copy(update=asked))
    valid = features["valid"]
    assert torch.equal(found.precision, class_precision(valid.predicted, valid.labels, 10))
    assert (found.min_support, found.ceiling, found.class_margins) == tuple(asked.values())


def test_a_tree_grows_behind_any_exit_rule(features, branch_parameters, boosting_parameters):
    parameters = boosting_parameters.model_copy(update={"margins": [[0.9], [0.6], [0.9]]})
    arguments = (features, branch_parameters, parameters)
    tree = list(boosting.train_tree(BOOSTED, *arguments, seed=0, rule=EXIT_RULES["confidence"]))
    left = {name: torch.ones(1000, dtype=torch.bool) for name in ("train", "valid")}
    for node, threshold in zip(tree, (0.9, 0.6, 0.9), strict=True):
        assert (node.train_survivors, node.valid_survivors) == tuple(int(each.sum()) for each in left.values())
        for name in left:
            left[name] &= confidence_and_class(node.logits[name])[0] < threshold
    assert 1000 > tree[1].train_survivors > tree[2].train_survivors > 20


def test_a_configuration_is_found_at_the_branches_trained_behind_its_margins(
    independent, boosted_tree, boosting_parameters
):
    alone, tree = tree_of("independent", 0, independent), tree_of("boosted", 0, boosted_tree)
    for margins in boosting.configurations(boosting_parameters):
        assert alone.rows(margins) == [0, 1, 2]
        found = [boosted_tree[row] for row in tree.rows(margins)]
        assert [(each.branch, each.margins) for each in found] == [
            (1, ()),
            (2, margins[:1]),
            (3, margins[:2]),
        ]
    assert (alone.is_sequential, tree.is_sequential) == (False, True)
    assert list(alone.position) == [(1, ()), (2, ()), (3, ())]
    assert list(tree.position) == [(each.branch, each.margins) for each in boosted_tree]


def test_a_tree_describes_its_branches_and_holds_what_an_evaluation_reads(boosted_tree):
    tree = tree_of("boosted", 3, boosted_tree)
    assert (tree.scheme, tree.seed) == ("boosted", 3)
    columns = ["training", "branch", "m1", "m2", "train_survivors", "valid_survivors", "closed"]
    assert sorted(tree.nodes.columns) == sorted(columns)
    assert (tree.nodes["training"] == "boosted").all()
    for position, node in enumerate(boosted_tree):
        row = tree.nodes.loc[position]
        assert tuple(row[["m1", "m2"]].dropna()) == node.margins
        assert (row["train_survivors"], row["valid_survivors"]) == (node.train_survivors, node.valid_survivors)
        assert_equal_states(tree.states[position], node.state)
        assert list(tree.logits) == ["valid", "test"]
        assert all(torch.equal(tree.logits[name][position], node.logits[name]) for name in tree.logits)


def test_survivors_only_ever_become_fewer(boosted_tree):
    for node in boosted_tree[1:]:
        parent = next(each for each in boosted_tree if each.margins == node.margins[:-1])
        assert node.train_survivors <= parent.train_survivors
        assert node.valid_survivors <= parent.valid_survivors


@pytest.fixture(scope="module")
def closing_tree(features, branch_parameters, boosting_parameters):
    """A tree whose first branch lets nearly everything leave."""
    everything_leaves = boosting_parameters.model_copy(update={"margins": [[1.0]] * 3, "min_survivors": 100})
    return list(boosting.train_tree(BOOSTED, features, branch_parameters, everything_leaves, seed=0))


def test_a_branch_with_too_few_survivors_is_closed_and_no_error(closing_tree):
    first, *rest = closing_tree
    assert not first.closed
    for node in rest:
        assert node.closed
        assert node.train_survivors < 100
        assert node.state == {}
        assert {name: tuple(each.shape) for name, each in node.logits.items()} == dict.fromkeys(
            SPLITS, (1000, 10)
        )


def test_a_closed_branch_passes_all_its_survivors_on(closing_tree):
    _, second, third = closing_tree
    assert third.train_survivors == second.train_survivors
    assert third.valid_survivors == second.valid_survivors


@pytest.mark.parametrize("scheme", [INDEPENDENT, BOOSTED])
@pytest.mark.parametrize("scarce", ["train", "valid"])
def test_too_few_survivors_in_either_split_close_a_branch(
    features, branch_parameters, boosting_parameters, scheme, scarce
):
    survivors, parameters = fitting.everyone(features), (branch_parameters, boosting_parameters)
    survivors[scarce][boosting_parameters.min_survivors - 1 :] = False
    assert fitting.fit_exit(1, scheme, features, survivors, *parameters, seed=0) is None
    survivors[scarce][boosting_parameters.min_survivors - 1] = True
    assert fitting.fit_exit(1, scheme, features, survivors, *parameters, seed=0) is not None


def test_scarce_test_images_close_no_branch(features, branch_parameters, boosting_parameters):
    survivors = fitting.everyone(features) | {"test": torch.zeros(1000, dtype=torch.bool)}
    parameters = (branch_parameters, boosting_parameters)
    assert fitting.fit_exit(1, BOOSTED, features, survivors, *parameters, seed=0) is not None


def test_every_seed_and_branch_has_a_random_order_of_its_own():
    seeds = [fitting.branch_seed(seed, number) for seed in range(50) for number in (1, 2, 3)]
    assert len(set(seeds)) == 150


def test_the_labels_learnt_are_the_chosen_ones(features, branch_parameters, boosting_parameters):
    everyone = fitting.everyone(features)

    def fitted(features, labels):
        chosen = branch_parameters.model_copy(update={"labels": labels})
        arguments = (features, everyone, chosen, boosting_parameters)
        return fitting.fit_exit(1, INDEPENDENT, *arguments, seed=0).state()

    truth, backbone = fitted(features, "truth"), fitted(features, "backbone")
    relabelled = dict(features)
    relabelled["train"] = dataclasses.replace(features["train"], labels=features["train"].predicted)
    assert_equal_states(fitted(relabelled, "truth"), backbone)
    assert any(not torch.equal(truth[name], backbone[name]) for name in truth)


def test_training_is_decided_by_the_seed(features, branch_parameters, boosting_parameters, independent):
    arguments = (features, branch_parameters, boosting_parameters)
    again, other = (next(boosting.train_tree(INDEPENDENT, *arguments, seed)) for seed in (0, 1))
    assert_equal_branches(again, independent[0])
    assert not torch.equal(other.logits["test"], independent[0].logits["test"])


def everything_chosen(root, folder, backbone_parameters, branch_parameters, boosting_parameters):
    """All that is trained or chosen on the way from the raw images to the thresholds."""
    splits = load_splits("fashion-mnist", root, limit=300)
    torch.manual_seed(0)
    backbone = StagedResNet18(10, in_channels=1, width=8)
    history = train_backbone(backbone, splits, backbone_parameters.model_copy(update={"epochs": 3}))
    folder.mkdir()
    store_features(backbone, splits, folder, FeatureParameters(batch_size=200, dtype="float32"))
    features, margins = load_features(folder), [0.0, -0.1, -0.1]
    parameters = boosting_parameters.model_copy(update={"margins": [[each] for each in margins]})
    terms, trained, thresholds = boosting.calibration_terms(features, parameters), [], []
    for name, scheme in SCHEMES.items():
        grown = list(boosting.train_tree(scheme, features, branch_parameters, parameters, 0))
        calibrator = Calibrator(tree_of(name, 0, grown), features, terms)
        thresholds += [calibrator.calibrated(margins, on).thresholds for on in ("full", "survivors")]
        trained += grown
    states = [backbone.state_dict(), *(each.state for each in trained)]
    return {
        "statistics": torch.tensor([*splits.mean, *splits.std]),
        "history": torch.from_numpy(history.to_numpy()),
        "weights": torch.cat([values.double().flatten() for state in states for values in state.values()]),
        "survivors": torch.tensor([(each.train_survivors, each.valid_survivors) for each in trained]),
        "valid logits": torch.stack([each.logits["valid"] for each in trained]),
        "thresholds": torch.stack(thresholds),
    }, torch.stack([each.logits["test"] for each in trained])


def test_no_test_image_and_no_test_label_reaches_a_choice(
    repository, tmp_path, monkeypatch, backbone_parameters, branch_parameters, boosting_parameters
):
    short = branch_parameters.model_copy(update={"epochs": 2})
    arguments = (backbone_parameters, short, boosting_parameters)
    chosen, test_logits = everything_chosen(repository / "data", tmp_path / "true", *arguments)
    read = fashion_mnist.read

    def read_with_another_test_set(folder, part):
        images, labels = read(folder, part)
        if part == "t10k":
            images, labels = 255 - images[::-1], (labels[::3].repeat(3)[: len(labels)] + 1) % 10
        return images, labels

    monkeypatch.setattr(fashion_mnist, "read", read_with_another_test_set)
    again, other_test_logits = everything_chosen(repository / "data", tmp_path / "other", *arguments)
    assert not torch.equal(test_logits, other_test_logits)
    assert torch.isfinite(chosen["thresholds"][:, 0]).any(1).all()
    # BTS-EE lets images leave at its branch 2 as well, and trains on fewer and fewer: what could leak is there.
    boosted = list(SCHEMES).index("boosted")
    assert torch.isfinite(chosen["thresholds"][2 * boosted : 2 * boosted + 2, 1]).any(1).all()
    first, second, third = chosen["survivors"][3 * boosted : 3 * boosted + 3, 0]
    assert third < second < first
    for name, values in chosen.items():
        assert torch.equal(values, again[name]), name
