import dataclasses
import shutil

import pytest
import torch
import yaml

from btsee_lib import boosting, training
from btsee_lib.store import results as stored
from btsee_lib.store.artefacts import ArtefactError
from btsee_lib.config import params
from btsee_lib.data.splits import ImageSet

SMALL = {
    "data": {"limit": 300},
    "backbone": {"width": 8, "epochs": 2, "reduced_epochs": 1, "batch_size": 50},
    "features": {"batch_size": 150},
    "branches": {"channels": 4, "epochs": 2, "batch_size": 50},
    "boosting": {"seeds": [0], "margins": [[-0.1, 0.2]] * 3, "min_support": 5, "min_survivors": 20},
}


@pytest.fixture(scope="module")
def made(repository, tmp_path_factory):
    """A small repository in which everything that takes long has been made."""
    root = tmp_path_factory.mktemp("small")
    (root / "dvc.yaml").touch()
    (root / "data").symlink_to(repository / "data")
    content = yaml.safe_load((repository / "params.yaml").read_text())
    (root / "params.yaml").write_text(
        yaml.safe_dump({name: content[name] | SMALL.get(name, {}) for name in content})
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        splits = stored.load_data()
        backbone, history = stored.make_backbone(splits)
        features = stored.make_features(backbone, splits)
        cascades = stored.make_cascades(features)
    return root, splits, backbone, history, features, cascades


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
    monkeypatch.setattr(stored, "store_features", trains)
    monkeypatch.setattr(boosting, "fit_branch", trains)


def test_what_is_there_is_loaded_and_not_made_again(inside, never_trains):
    _, splits, backbone, history, features, cascades = inside
    for loaded, table in (stored.make_backbone(splits), stored.load_backbone(splits)):
        assert table.equals(history)
        assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), backbone.parameters(), strict=True))
        assert not any(each.requires_grad for each in loaded.parameters())
        assert not loaded.training
    for loaded in (stored.make_features(backbone, splits), stored.load_stored_features()):
        assert torch.equal(loaded["valid"].logits, features["valid"].logits)
    for loaded in (stored.make_cascades(features), stored.load_cascades()):
        assert loaded[0].nodes.equals(cascades[0].nodes)
        assert torch.equal(loaded[0].logits["test"], cascades[0].logits["test"])


def test_a_configuration_is_found_at_the_branches_trained_behind_its_margins(inside):
    trained = inside[-1][0]
    for margins in boosting.configurations(params("boosting")):
        assert trained.rows("independent", margins) == [0, 1, 2]
        nodes = trained.nodes.loc[trained.rows("boosted", margins)]
        assert (nodes["training"] == "boosted").all()
        assert nodes["branch"].tolist() == [1, 2, 3]
        assert nodes["m1"].tolist()[1:] == [margins[0]] * 2
        assert nodes["m2"].tolist()[2] == margins[1]
    assert len(trained.nodes) == len(trained.states) == 3 + 1 + 2 + 4


def test_another_seed_is_trained_beside_the_first(inside, change):
    *_, features, cascades = inside
    times = {path: path.stat().st_mtime_ns for path in (inside[0] / "artifacts/cascades/seed_0").iterdir()}
    change("boosting", seeds=[0, 1])
    first, second = stored.make_cascades(features)
    assert (first.seed, second.seed) == (0, 1)
    assert torch.equal(first.logits["test"], cascades[0].logits["test"])
    assert not torch.equal(first.logits["test"], second.logits["test"])
    assert times == {path: path.stat().st_mtime_ns for path in times}


@pytest.mark.parametrize(
    ("section", "key", "value", "spoilt"),
    [
        ("data", "limit", 200, "backbone"),
        ("backbone", "epochs", 3, "backbone"),
        ("features", "batch_size", 100, "features"),
        ("branches", "channels", 5, "cascades"),
        ("boosting", "min_support", 6, "cascades"),
    ],
)
def test_results_of_other_parameters_are_refused_by_key(inside, change, section, key, value, spoilt):
    _, splits, *_ = inside
    loaders = {
        "backbone": lambda: stored.load_backbone(splits),
        "features": stored.load_stored_features,
        "cascades": stored.load_cascades,
    }
    change(section, **{key: value})
    for name, load in loaders.items():
        if name == spoilt:
            with pytest.raises(ArtefactError, match=rf"parameters\.{section}\.{key} is .*, expected {value}"):
                load()
        elif list(loaders).index(name) < list(loaders).index(spoilt):
            assert load()


def test_changing_what_only_the_evaluation_reads_spoils_nothing(inside, change, never_trains):
    _, splits, _, _, features, _ = inside
    change("evaluation", resamples=77)
    assert stored.load_backbone(splits)
    assert stored.load_stored_features()
    assert stored.load_cascades()
    assert stored.make_cascades(features)


def test_an_interrupted_training_leaves_the_features_and_is_done_again(inside, change, monkeypatch):
    *_, features, _ = inside
    change("boosting", seeds=[5])
    with monkeypatch.context() as patch:
        patch.setattr(boosting, "train_boosted_tree", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            stored.make_cascades(features)
    assert not (inside[0] / "artifacts/cascades/seed_5").exists()
    assert stored.load_stored_features()
    assert len(stored.make_cascades(features)[0].nodes) == 10


@pytest.mark.parametrize(
    "damage", [lambda content: content[: len(content) // 2], lambda _: b"", lambda _: None]
)
@pytest.mark.parametrize(
    "name", ["backbone/backbone.pt", "features/valid_branch2.npy", "cascades/seed_0/nodes.csv"]
)
def test_a_damaged_or_missing_file_is_named(inside, name, damage):
    _, splits, *_ = inside
    path = inside[0] / "artifacts" / name
    whole = path.read_bytes()
    spoilt = damage(whole)
    path.unlink() if spoilt is None else path.write_bytes(spoilt)
    loaders = {
        "backbone": lambda: stored.load_backbone(splits),
        "features": stored.load_stored_features,
        "cascades": stored.load_cascades,
    }
    try:
        with pytest.raises(ArtefactError, match="run 'dvc repro") as caught:
            loaders[name.split("/")[0]]()
    finally:
        path.write_bytes(whole)
    assert name in str(caught.value)


def test_the_cost_model_is_that_of_the_stages_and_the_branches(inside):
    _, splits, backbone, _, features, cascades = inside
    cost = stored.cost_model(backbone, features, splits)
    assert len(cost.stages) == 4
    assert len(cost.branches) == 3
    weights = cascades[0].states[2]["classifier.weight"].numel()
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
    stored.make_backbone(splits)
    expected = (root / "artifacts/backbone/backbone.pt").read_bytes()
    shutil.rmtree(root / "artifacts/backbone")
    with pytest.raises(KilledError):
        stored.make_backbone(splits, kill)
    (left,) = (root / "artifacts/checkpoints").iterdir()
    ran = []
    stored.make_backbone(splits, lambda epochs: ran.extend(epochs) or epochs)
    assert ran == [2]
    assert (root / "artifacts/backbone/backbone.pt").read_bytes() == expected
    assert not left.exists()


def test_a_checkpoint_of_other_parameters_or_a_damaged_one_is_not_used(inside, change):
    root, splits, *_ = inside
    for seed in (4, 5):
        change("backbone", seed=seed)
        with pytest.raises(KilledError):
            stored.make_backbone(splits, kill)
    left = sorted((root / "artifacts/checkpoints").iterdir(), key=lambda path: path.stat().st_mtime)
    assert len(left) == 2
    left[1].write_bytes(left[0].read_bytes()[:-1])
    ran = []
    stored.make_backbone(splits, lambda epochs: ran.extend(epochs) or epochs)
    assert ran == [1, 2]
    assert list((root / "artifacts/checkpoints").iterdir()) == [left[0]]


def test_the_images_are_part_of_what_a_backbone_is_made_from(inside):
    _, splits, *_ = inside
    stored.make_backbone(splits)
    labels = splits.test.labels.clone()
    labels[0] = (labels[0] + 1) % 10
    other = dataclasses.replace(splits, test=ImageSet(splits.test.images, labels))
    with pytest.raises(ArtefactError, match=r"splits is .*, expected"):
        stored.load_backbone(other)
