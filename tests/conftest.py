"""Shared by all tests: a little real data, a small backbone, its features, and trained branches."""

from pathlib import Path

import pytest
import torch
from hypothesis import settings

from btsee_lib import boosting, config
from btsee_lib.backbone import StagedResNet18, train_backbone
from btsee_lib.calibration import calibrate, class_precision, confidence_and_class, precision_bars
from btsee_lib.data import load_splits
from btsee_lib.features import load_features, store_features

IMAGES_A_SPLIT = 1000
FEATURES_BATCH = 250

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
        momentum=0.9,
        weight_decay=5e-4,
        label_smoothing=0.0,
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
    store_features(backbone, splits, folder, FEATURES_BATCH)
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
