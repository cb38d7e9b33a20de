import dataclasses
import json
import re
import shutil

import pytest
import torch
import yaml
from made_up import assert_equal_trees
from small_experiment import small_repository

from btsee_lib import boosting, training
from btsee_lib import features as features_module
from btsee_lib.config import params
from btsee_lib.data.splits import ImageSet
from btsee_lib.errors import ArtefactError
from btsee_lib.schemes import SCHEMES
from btsee_lib.store import artefacts, results
from btsee_lib.store.backbone_artefact import STATIC
from btsee_lib.store.deployment_results import make_static_backbone

BRANCHES = {"independent": 3, "boosted": 1 + 2 + 4}


@pytest.fixture(scope="module")
def made(repository, tmp_path_factory):
    """A small repository in which everything that takes long has been made."""
    root = small_repository(tmp_path_factory.mktemp("small"), repository)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        splits = results.load_data()
        backbone, history = results.make_backbone(splits)
        features = results.make_features(backbone, splits)
        trees = results.make_trees()
    return root, splits, backbone, history, features, trees


@pytest.fixture
def inside(made, monkeypatch):
    monkeypatch.chdir(made[0])
    return made


@pytest.fixture
def change(inside, monkeypatch):
    """Change a parameter for the time of a test."""
    path = inside[0] / "params.yaml"
    before = path.read_text()

    def write(section, **changes):
        content = yaml.safe_load(path.read_text())
        content[section] |= changes
        path.write_text(yaml.safe_dump(content))

    yield write
    path.write_text(before)


@pytest.fixture
def never_trains(monkeypatch):
    def trains(*_):
        raise AssertionError("trained again")

    monkeypatch.setattr(training, "train_backbone", trains)
    monkeypatch.setattr(features_module, "store_features", trains)
    monkeypatch.setattr(boosting, "fit_exit", trains)


def test_what_is_there_is_loaded_and_not_made_again(inside, never_trains):
    _, splits, backbone, history, features, trees = inside
    for loaded, table in (results.make_backbone(splits), results.load_backbone(splits)):
        assert table.equals(history)
        assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), backbone.parameters(), strict=True))
        assert not any(each.requires_grad for each in loaded.parameters())
        assert not loaded.training
    for loaded in (results.make_features(backbone, splits), results.load_stored_features()):
        assert torch.equal(loaded["valid"].logits, features["valid"].logits)
    for loaded in (results.make_trees(), results.load_trees()):
        assert len(loaded) == len(trees) == 2
        for tree, expected in zip(loaded, trees, strict=True):
            assert_equal_trees(tree, expected)


def test_all_that_later_notebooks_need_is_loaded_at_once(inside, never_trains):
    _, splits, backbone, _, features, trees = inside
    found = results.load_results()
    assert found.splits.digest == splits.digest
    assert all(
        torch.equal(a, b) for a, b in zip(found.backbone.parameters(), backbone.parameters(), strict=True)
    )
    assert torch.equal(found.features["test"].logits, features["test"].logits)
    assert [(tree.scheme, tree.seed) for tree in found.trees] == [(tree.scheme, tree.seed) for tree in trees]
    assert found.cost == results.cost_model(backbone, features, splits)
    terms = boosting.calibration_terms(features, params("boosting"))
    assert torch.equal(found.terms.precision.nan_to_num(-1), terms.precision.nan_to_num(-1))
    assert found.terms.min_support == terms.min_support == 5


def test_a_configuration_is_found_at_the_branches_trained_behind_its_margins(inside):
    independent, boosted = inside[-1]
    for margins in boosting.configurations(params("boosting")):
        assert independent.rows(margins) == [0, 1, 2]
        nodes = boosted.nodes.loc[boosted.rows(margins)]
        assert nodes["branch"].tolist() == [1, 2, 3]
        assert nodes["m1"].tolist()[1:] == [margins[0]] * 2
        assert nodes["m2"].tolist()[2] == margins[1]
    for tree in (independent, boosted):
        assert (tree.nodes["training"] == tree.scheme).all()
        assert len(tree.nodes) == len(tree.states) == BRANCHES[tree.scheme]


def test_another_seed_is_trained_beside_the_first(inside, change):
    *_, trees = inside
    folders = [inside[0] / f"artifacts/cascades/{scheme}_seed_0" for scheme in BRANCHES]
    times = {path: path.stat().st_mtime_ns for folder in folders for path in folder.iterdir()}
    change("boosting", seeds=[0, 1])
    found = results.make_trees()
    assert [(tree.seed, tree.scheme) for tree in found] == [
        (seed, scheme) for seed in (0, 1) for scheme in BRANCHES
    ]
    for first, second, before in zip(found[:2], found[2:], trees, strict=True):
        assert torch.equal(first.logits["test"], before.logits["test"])
        assert not torch.equal(first.logits["test"], second.logits["test"])
    assert times == {path: path.stat().st_mtime_ns for path in times}


def test_a_tree_is_made_from_the_code_that_trains_it_and_its_scheme(inside):
    for scheme in BRANCHES:
        path = inside[0] / f"artifacts/cascades/{scheme}_seed_0/fingerprint.json"
        made_from = json.loads(path.read_text())["made_from"]
        assert made_from["scheme"] == scheme
        assert made_from["settings"] == vars(SCHEMES[scheme]) | {"head": "Head"}
        names = ("boosting", "branches", "calibration", "fitting", "schemes.scheme")
        assert {f"btsee_lib.{name}" for name in names} <= set(made_from["code"])
        # One more scheme or exit rule trains nothing again.
        others = ("evaluation", "exit_rules", "schemes", "schemes.weighting")
        assert not {f"btsee_lib.{name}" for name in others} & set(made_from["code"])


@pytest.mark.parametrize(
    ("section", "key", "value", "spoilt"),
    [
        ("data", "limit", 200, "backbone"),
        ("backbone", "epochs", 3, "backbone"),
        ("features", "batch_size", 100, "features"),
        ("branches", "channels", [5, 4, 4], "trees"),
        ("boosting", "min_support", 6, "trees"),
    ],
)
def test_results_of_other_parameters_are_refused_by_key(inside, change, section, key, value, spoilt):
    _, splits, *_ = inside
    loaders = {
        "backbone": lambda: results.load_backbone(splits),
        "features": results.load_stored_features,
        "trees": results.load_trees,
    }
    change(section, **{key: value})
    for name, load in loaders.items():
        if name == spoilt:
            with pytest.raises(
                ArtefactError, match=rf"parameters\.{section}\.{key} is .*, expected {re.escape(str(value))}"
            ):
                load()
        elif list(loaders).index(name) < list(loaders).index(spoilt):
            assert load()


def test_changing_what_only_the_evaluation_reads_spoils_nothing(inside, change, never_trains):
    _, splits, *_ = inside
    change("evaluation", resamples=77)
    assert results.load_backbone(splits)
    assert results.load_stored_features()
    assert results.load_trees()
    assert results.make_trees()


def test_an_interrupted_training_leaves_the_features_and_is_done_again(inside, change, monkeypatch):
    change("boosting", seeds=[5])
    with monkeypatch.context() as patch:
        fit_exit = boosting.fit_exit

        def stopped(number, *arguments, **others):
            if number == 3:
                raise KeyboardInterrupt
            return fit_exit(number, *arguments, **others)

        patch.setattr(boosting, "fit_exit", stopped)
        with pytest.raises(KeyboardInterrupt):
            results.make_trees()
    assert not list((inside[0] / "artifacts/cascades").glob("*seed_5*"))
    assert results.load_stored_features()
    assert [len(tree.nodes) for tree in results.make_trees()] == list(BRANCHES.values())


@pytest.mark.parametrize(
    "damage", [lambda content: content[: len(content) // 2], lambda _: b"", lambda _: None]
)
@pytest.mark.parametrize(
    "name", ["backbone/backbone.pt", "features/valid_branch2.npy", "cascades/boosted_seed_0/nodes.csv"]
)
def test_a_damaged_or_missing_file_is_named(inside, name, damage):
    _, splits, *_ = inside
    path = inside[0] / "artifacts" / name
    whole = path.read_bytes()
    spoilt = damage(whole)
    path.unlink() if spoilt is None else path.write_bytes(spoilt)
    loaders = {
        "backbone": lambda: results.load_backbone(splits),
        "features": results.load_stored_features,
        "cascades": results.load_trees,
    }
    try:
        with pytest.raises(ArtefactError, match="run 'dvc repro") as caught:
            loaders[name.split("/")[0]]()
    finally:
        path.write_bytes(whole)
    assert name in str(caught.value)


def test_the_cost_model_is_that_of_the_stages_and_the_branches(inside):
    _, splits, backbone, _, features, trees = inside
    cost = results.cost_model(backbone, features, splits)
    assert len(cost.stages) == 4
    assert len(cost.branches) == 3
    weights = trees[0].states[2]["classifier.weight"].numel()
    assert cost.branches[2] > weights


class KilledError(Exception):
    pass


def kill(epochs):
    for epoch in epochs:
        if epoch == 2:
            raise KilledError
        yield epoch


def test_a_killed_training_is_resumed_and_gives_the_same_file(inside, change, monkeypatch):
    root, splits, *_ = inside
    change("backbone", seed=3)
    results.make_backbone(splits)
    expected = (root / "artifacts/backbone/backbone.pt").read_bytes()
    shutil.rmtree(root / "artifacts/backbone")
    with pytest.raises(KilledError):
        results.make_backbone(splits, kill)
    (left,) = (root / "artifacts/checkpoints").iterdir()
    ran = []
    results.make_backbone(splits, lambda epochs: ran.extend(epochs) or epochs)
    assert ran == [2]
    assert (root / "artifacts/backbone/backbone.pt").read_bytes() == expected
    assert not left.exists()


def test_a_checkpoint_of_other_parameters_or_a_damaged_one_is_not_used(inside, change):
    root, splits, *_ = inside
    for seed in (4, 5):
        change("backbone", seed=seed)
        with pytest.raises(KilledError):
            results.make_backbone(splits, kill)
    left = sorted((root / "artifacts/checkpoints").iterdir(), key=lambda path: path.stat().st_mtime)
    assert len(left) == 2
    left[1].write_bytes(left[0].read_bytes()[:-1])
    ran = []
    results.make_backbone(splits, lambda epochs: ran.extend(epochs) or epochs)
    assert ran == [1, 2]
    assert list((root / "artifacts/checkpoints").iterdir()) == [left[0]]


def test_the_images_are_part_of_what_a_backbone_is_made_from(inside):
    _, splits, *_ = inside
    results.make_backbone(splits)
    labels = splits.test.labels.clone()
    labels[0] = (labels[0] + 1) % 10
    other = dataclasses.replace(splits, test=ImageSet(splits.test.images, labels))
    with pytest.raises(ArtefactError, match=r"splits is .*, expected"):
        results.load_backbone(other)


@pytest.fixture
def kept(inside):
    """What takes long and is small, kept in git and no longer among the artefacts."""
    root, splits, *_ = inside
    make_static_backbone(splits)
    names = ["backbone", STATIC, *(each.name for each in results.tree_artefacts())]
    for name in names:
        artefacts.keep(name)
    shutil.copytree(root / "artifacts", root / "before")
    for name in ("backbone", STATIC, "cascades"):
        shutil.rmtree(root / "artifacts" / name)
    yield root / "reports/measured"
    shutil.rmtree(root / "artifacts")
    (root / "before").rename(root / "artifacts")
    for name in ("backbone", STATIC, "cascades"):
        shutil.rmtree(root / "reports/measured" / name)


def test_networks_and_branches_kept_in_git_are_taken_over_and_not_trained(inside, kept, never_trains):
    root, splits, _, history, _, trees = inside
    _, table = results.make_backbone(splits)
    make_static_backbone(splits)
    assert table.equals(history)
    for tree, expected in zip(results.make_trees(), trees, strict=True):
        assert_equal_trees(tree, expected)
    made = [path for path in (root / "artifacts").rglob("*") if path.is_file()]
    assert {path.name for path in made} >= {"backbone.pt", "branches.pt", "logits.pt"}
    for path in made:
        assert (root / "before" / path.relative_to(root / "artifacts")).read_bytes() == path.read_bytes()


def test_what_branches_answer_is_not_kept_in_git_since_it_is_made_in_seconds(kept):
    sizes = {path.name: path.stat().st_size for path in kept.rglob("cascades/*/*")}
    assert set(sizes) == {"branches.pt", "nodes.csv", "fingerprint.json"}


@pytest.mark.parametrize("spoilt", ["parameters", "file"])
def test_a_kept_backbone_of_other_parameters_or_a_damaged_one_is_not_taken_over(inside, kept, change, spoilt):
    _, splits, *_ = inside
    if spoilt == "parameters":
        change("backbone", seed=6)
    else:
        path = kept / "backbone/backbone.pt"
        path.write_bytes(path.read_bytes()[:-1])
    ran = []
    results.make_backbone(splits, lambda epochs: ran.extend(epochs) or epochs)
    assert ran == [1, 2]
