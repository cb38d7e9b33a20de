"""Shared by all tests: a little real data, a small backbone, its features, and trained branches."""

import functools
import itertools
import os
from pathlib import Path

import onnx
import pytest
import torch
from filelock import FileLock
from hypothesis import settings
from joblib import parallel_config
from made_up import made_up_features, made_up_tree
from small_experiment import inside_small_repository

from btsee_lib import boosting, compute, config, experiment, fitting
from btsee_lib.backbone import StagedResNet18
from btsee_lib.calibration import calibrate, confidence_and_class
from btsee_lib.cascade import Cascade
from btsee_lib.data import load_splits
from btsee_lib.deployment import onnx_export
from btsee_lib.deployment.cascade_file import Description
from btsee_lib.deployment.onnx_export import export
from btsee_lib.features import load_features, store_features
from btsee_lib.schemes import SCHEMES
from btsee_lib.store import artefacts, code, fewer_images_results, own_visits, results, scheme_results
from btsee_lib.training import train_backbone
from btsee_lib.trees import tree_of

IMAGES_A_SPLIT = 1000
MADE_UP = {"valid": 150, "test": 120}  # images a split
PACKAGES = itertools.count()

settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")


@pytest.fixture(scope="session", autouse=True)
def one_deterministic_thread():
    compute.set_up_torch(0, max_threads=1)  # small batches gain nothing from a second one


@pytest.fixture(scope="session", autouse=True)
def one_process():
    """Starting others takes longer than the small work of a test, and a patch would not reach them."""
    with parallel_config("sequential"):
        yield


@pytest.fixture(scope="session", autouse=True)
def one_table_of_operators():
    """What torch knows of ONNX and of its own operators is read once: it reads both again for every model."""
    try:  # torch's own: they may move
        from torch._export import utils
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        read, collect = ONNXRegistry.from_torchlib, utils._collect_all_valid_cia_ops_for_namespace
    except (ImportError, AttributeError):
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(functools.cache(read)))
        patch.setattr(utils, "_collect_all_valid_cia_ops_for_namespace", functools.cache(collect))
        yield


@pytest.fixture(scope="session", autouse=True)
def one_look_at_the_library():
    """Its sources do not change meanwhile; read for each artefact, they take a third of a small experiment."""
    once = functools.cache(code.digests_of_code)

    def digests(module):
        return dict(once(module)) if module.startswith("btsee_lib.") else code.digests_of_code(module)

    with pytest.MonkeyPatch.context() as patch:
        for user in (artefacts, fewer_images_results, own_visits, results, scheme_results):
            patch.setattr(user, "digests_of_code", digests)
        yield


@pytest.fixture(scope="session")
def once_for_all_workers(tmp_path_factory):
    """Called with a name and what makes something: one worker makes it, the others read it from a file."""

    def made(name, make):
        if "PYTEST_XDIST_WORKER" not in os.environ:
            return make()
        path = tmp_path_factory.getbasetemp().parent / f"{name}.pt"  # the folder of this run
        with FileLock(f"{path}.lock"):
            if not path.exists():
                torch.save(make(), path)
        return torch.load(path, weights_only=False)

    return made


@pytest.fixture(scope="session")
def repository():
    return experiment.repository_root(Path(__file__).parent)


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """An empty repository that is the working directory."""
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of a name of its own, on the path: called with modules and their sources it writes them.

    Returns the package's name, which stands for ``PACKAGE`` in the sources.
    """
    folder = tmp_path / "sources" / f"package_{next(PACKAGES)}"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(folder.parent)

    def write(sources):
        for name, source in sources.items():
            path = folder / f"{name}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(source.replace("PACKAGE", folder.name))
        return folder.name

    return write


@pytest.fixture(scope="session")
def small_backbone(repository, tmp_path_factory, once_for_all_workers):
    """The files of backbone and features of the small experiment, for whoever asks what comes after them."""

    def make():
        root = tmp_path_factory.mktemp("made") / "small"
        with inside_small_repository(root, repository):
            results.make_backbone_and_features(iter)
        files = [path for path in (root / "artifacts").rglob("*") if path.is_file()]
        return {str(path.relative_to(root)): path.read_bytes() for path in files}

    return once_for_all_workers("small_backbone", make)


@pytest.fixture(scope="session")
def splits(repository):
    return load_splits("fashion-mnist", repository / "data", limit=IMAGES_A_SPLIT)


@pytest.fixture(scope="session")
def backbone_parameters():
    return config.BackboneParameters(
        name="resnet18",
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
        crop_padding=0,
        seed=0,
    )


@pytest.fixture(scope="session")
def feature_parameters():
    return config.FeatureParameters(batch_size=250, dtype="float32")


@pytest.fixture(scope="session")
def branch_parameters():
    return config.BranchParameters(
        channels=[8, 8, 8],
        kernel_size=3,
        labels="truth",
        epochs=4,
        batch_size=100,
        learning_rate=0.02,
        weight_decay=0.01,
    )


@pytest.fixture(scope="session")
def boosting_parameters():
    margins = [-0.15, -0.1, -0.05, 0.0]
    return config.BoostingParameters(
        seeds=[0], margins=[margins] * 3, bar_ceiling=1.0, min_support=5, min_survivors=20
    )


@pytest.fixture(scope="session")
def history_and_backbone(splits, backbone_parameters, once_for_all_workers):
    def train():
        compute.set_up_torch(backbone_parameters.seed)
        network = StagedResNet18(len(splits.classes), in_channels=1, width=backbone_parameters.width)
        history = train_backbone(network, splits, backbone_parameters)
        return history, network.requires_grad_(False).eval()

    return once_for_all_workers("backbone", train)


@pytest.fixture(scope="session")
def backbone(history_and_backbone):
    return history_and_backbone[1]


@pytest.fixture(scope="session")
def features_folder(backbone, splits, feature_parameters, tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    store_features(backbone, splits, folder, feature_parameters)
    return folder


@pytest.fixture(scope="session")
def features(features_folder):
    return load_features(features_folder)


@pytest.fixture(scope="session")
def terms(features, boosting_parameters):
    return boosting.calibration_terms(features, boosting_parameters)


@pytest.fixture(scope="session")
def independent(features, branch_parameters, boosting_parameters):
    arguments = (features, branch_parameters, boosting_parameters)
    return list(boosting.train_tree(SCHEMES["independent"], *arguments, seed=0))


@pytest.fixture(scope="session")
def boosted_tree(features, branch_parameters, boosting_parameters, once_for_all_workers):
    arguments = (SCHEMES["boosted"], features, branch_parameters, boosting_parameters)
    return once_for_all_workers("boosted_tree", lambda: list(boosting.train_tree(*arguments, seed=0)))


@pytest.fixture(scope="session")
def trees(independent, boosted_tree):
    """The trees of one seed, first the independent one."""
    return [
        tree_of(scheme, 0, each) for scheme, each in (("independent", independent), ("boosted", boosted_tree))
    ]


@pytest.fixture(scope="session")
def branches(independent, features, branch_parameters):
    """The three trained modules of the independent cascade."""
    modules = []
    for trained in independent:
        module = fitting.initial_branch(trained.branch, features, branch_parameters, seed=0)
        module.load_state_dict(trained.state)
        modules.append(module.requires_grad_(False).eval())
    return modules


@pytest.fixture(scope="session")
def cascade_case(features, independent, terms):
    """The outputs of branches and backbone on the test images, and thresholds chosen on valid."""
    valid, test = features["valid"], features["test"]
    outputs = {
        name: confidence_and_class(torch.stack([each.logits[name] for each in independent]))
        for name in ("valid", "test")
    }
    backbone_confidence, backbone_predicted = confidence_and_class(test.logits)
    return {
        "confidence": outputs["test"][0],
        "predicted": outputs["test"][1],
        "backbone_predicted": backbone_predicted,
        "backbone_confidence": backbone_confidence,
        "thresholds": calibrate(*outputs["valid"], valid.labels, [-0.1] * 3, terms),
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
        backbone=backbone_parameters.name,
        width=backbone_parameters.width,
        stem=backbone_parameters.stem,
        branch_channels=tuple(branch_parameters.channels),
        branch_kernel_size=branch_parameters.kernel_size,
        rule="CPM",
        margins=(-0.1, -0.1, -0.1),
        measured={"accuracy": 0.75},
    )


@pytest.fixture(scope="session")
def exported_segments(cascade, description, tmp_path_factory, once_for_all_workers):
    """A folder with both ONNX forms of the cascade, and its segments for whoever exports it again.

    Torch's part takes seconds: one worker does it.
    """

    def torchs_part():
        segments = {}
        export(cascade, description, tmp_path_factory.mktemp("first"), segments)
        return {name: model.SerializeToString() for (name, *_), model in segments.items()}

    models, segments = once_for_all_workers("segments", torchs_part), {}
    folder = tmp_path_factory.mktemp("onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            onnx_export, "_export_segment", lambda segment, *_: onnx.load_from_string(models[segment.name])
        )
        export(cascade, description, folder, segments)
    return folder, segments


@pytest.fixture(scope="session")
def exported(exported_segments):
    """A folder with both ONNX forms of the cascade."""
    return exported_segments[0]


@pytest.fixture(scope="session")
def made_up_trees():
    """Features of 3 classes, and the independent branches of two seeds, none of them trained."""
    generator = torch.Generator().manual_seed(4)  # under this seed images leave at every branch
    features = made_up_features(MADE_UP, generator)
    return features, [made_up_tree("independent", seed, features, (1, 2, 3), generator) for seed in (0, 1)]


@pytest.fixture(scope="session")
def loose_boosting_parameters():
    return config.BoostingParameters(
        seeds=[0, 1], margins=[[0.0]] * 3, bar_ceiling=1.0, min_support=3, min_survivors=20
    )
