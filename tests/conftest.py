"""Shared by all tests: a little real data, a small backbone, its features, and trained branches."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import settings
from torch.nn.functional import one_hot

from btsee_lib import boosting, config
from btsee_lib.store import results as stored
from btsee_lib.backbone import StagedResNet18
from btsee_lib.calibration import calibrate, class_precision, confidence_and_class, precision_bars
from btsee_lib.cascade import Cascade
from btsee_lib.deployment.cascade_file import Description
from btsee_lib.data import load_splits
from btsee_lib.features import SplitFeatures, load_features, store_features
from btsee_lib.deployment.onnx_export import export
from btsee_lib.store.results import SeedBranches
from btsee_lib.training import train_backbone

IMAGES_A_SPLIT = 1000
FEATURES_BATCH = 250
FEATURES = config.Features(batch_size=FEATURES_BATCH, dtype="float32")
MADE_UP = {"valid": 150, "test": 120}  # images

settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")


@pytest.fixture(scope="session", autouse=True)
def one_deterministic_thread():
    config.set_up_torch(0, max_threads=1)  # small batches gain nothing from a second one


@pytest.fixture(scope="session")
def repository():
    return config.repository_root(Path(__file__).parent)


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """An empty repository that is the working directory."""
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def splits(repository):
    return load_splits("fashion-mnist", repository / "data", limit=IMAGES_A_SPLIT)


@pytest.fixture(scope="session")
def backbone_parameters():
    return config.Backbone(
        width=8,
        stem="small",
        epochs=6,
        reduced_epochs=2,
        reduced_size=14,
        batch_size=50,
        learning_rate=0.1,
        schedule="one-cycle",
        momentum=0.9,
        weight_decay=5e-4,
        label_smoothing=0.0,
        crop_padding=0,
        seed=0,
    )


@pytest.fixture(scope="session")
def branch_parameters():
    return config.Branches(
        channels=8,
        kernel_size=3,
        labels="truth",
        epochs=4,
        batch_size=100,
        learning_rate=0.02,
        weight_decay=0.01,
    )


@pytest.fixture(scope="session")
def limits():
    margins = [-0.15, -0.1, -0.05, 0.0]
    return config.Boosting(seeds=[0], margins=[margins] * 3, bar_ceiling=1.0, min_support=5, min_survivors=20)


@pytest.fixture(scope="session")
def history_and_backbone(splits, backbone_parameters):
    config.set_up_torch(backbone_parameters.seed)
    network = StagedResNet18(len(splits.classes), in_channels=1, width=backbone_parameters.width)
    history = train_backbone(network, splits, backbone_parameters)
    return history, network.requires_grad_(False).eval()


@pytest.fixture(scope="session")
def backbone(history_and_backbone):
    return history_and_backbone[1]


@pytest.fixture(scope="session")
def features_folder(backbone, splits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    store_features(backbone, splits, folder, FEATURES)
    return folder


@pytest.fixture(scope="session")
def features(features_folder):
    return load_features(features_folder)


@pytest.fixture(scope="session")
def independent(features, branch_parameters, limits):
    return list(boosting.train_independent(features, branch_parameters, limits, seed=0))


@pytest.fixture(scope="session")
def boosted_tree(features, branch_parameters, limits):
    return list(boosting.train_boosted_tree(features, branch_parameters, limits, seed=0))


@pytest.fixture(scope="session")
def trained(independent, boosted_tree, tmp_path_factory):
    """All branches of one seed, as they are stored."""
    folder = tmp_path_factory.mktemp("seed")
    stored.write_branches(folder, [*independent, *boosted_tree])
    return stored.read_branches(folder, 0)


@pytest.fixture(scope="session")
def branches(independent, features, branch_parameters):
    """The three trained modules of the independent cascade."""
    modules = []
    for trained in independent:
        module = boosting.new_branch(trained.branch, features, branch_parameters, seed=0)
        module.load_state_dict(trained.state)
        modules.append(module.requires_grad_(False).eval())
    return modules


@pytest.fixture(scope="session")
def cascade_case(features, independent):
    """What the branches and the backbone say of the test images, and thresholds chosen on valid."""
    valid, test = features["valid"], features["test"]
    spoken = {
        name: confidence_and_class(torch.stack([each.logits[name] for each in independent]))
        for name in ("valid", "test")
    }
    precision = class_precision(valid.predicted, valid.labels, 10)
    bars = precision_bars(precision, [-0.1] * 3, ceiling=1.0)
    backbone_confidence, backbone_predicted = confidence_and_class(test.logits)
    return {
        "confidence": spoken["test"][0],
        "predicted": spoken["test"][1],
        "backbone_predicted": backbone_predicted,
        "backbone_confidence": backbone_confidence,
        "thresholds": calibrate(*spoken["valid"], valid.labels, bars, 5, on="survivors"),
    }


@pytest.fixture(scope="session")
def cascade(backbone, branches, cascade_case, splits):
    return Cascade(backbone, branches, cascade_case["thresholds"], splits.test.images.shape[1:])


@pytest.fixture(scope="session")
def description(splits, backbone_parameters, branch_parameters):
    return Description(
        data_set="fashion-mnist",
        classes=splits.classes,
        image_shape=tuple(splits.test.images.shape[1:]),
        mean=splits.mean,
        std=splits.std,
        width=backbone_parameters.width,
        stem=backbone_parameters.stem,
        branch_channels=branch_parameters.channels,
        branch_kernel_size=branch_parameters.kernel_size,
        margins=(-0.1, -0.1, -0.1),
        measured={"accuracy": 0.75},
    )


@pytest.fixture(scope="session")
def exported(cascade, description, tmp_path_factory):
    """A folder with both ONNX forms of the cascade."""
    folder = tmp_path_factory.mktemp("onnx")
    export(cascade, description, folder)
    return folder


@pytest.fixture(scope="session")
def made_up_cascades():
    """Features of 3 classes and the branches of two seeds, drawn at random: later ones are right more often."""
    generator = torch.Generator().manual_seed(0)

    def answers(labels, strength):
        return strength * one_hot(labels, 3) + torch.randn(len(labels), 3, generator=generator)

    labels = {name: torch.randint(3, (n,), generator=generator) for name, n in MADE_UP.items()}
    features = {name: SplitFeatures((), answers(each, 3.5), each) for name, each in labels.items()}
    nodes = pd.DataFrame({"training": ["boosted"] + 3 * ["independent"], "branch": [1, 1, 2, 3]})
    cascades = []
    for seed in (0, 1):
        logits = {name: torch.stack([answers(labels[name], s) for s in (0, 2, 2.3, 2.6)]) for name in MADE_UP}
        cascades.append(SeedBranches(seed, nodes, logits, states=[]))
    return features, cascades


@pytest.fixture(scope="session")
def loose_limits():
    return config.Boosting(seeds=[0, 1], margins=[[0.0]] * 3, bar_ceiling=1.0, min_support=3, min_survivors=20)
