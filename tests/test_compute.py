import json
import multiprocessing
import random

import numpy as np
import pandas as pd
import pytest
import torch
import two_processes
import yaml
from small_experiment import SMALL, small_repository
from torch import nn
from torch.distributed import run as torchrun
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import elastic_launch

from btsee_lib import compute
from btsee_lib.compute import borrowed, fits, new_fabric, set_up_torch
from btsee_lib.config import params
from btsee_lib.errors import ParameterError
from btsee_lib.features import store_features
from btsee_lib.store import backbone_artefact
from btsee_lib.store import results as stored

IMAGES = SMALL["data"]["limit"]


def launch(root, killed_after=0):
    """Start two processes with ``torchrun``'s options, as forks of one that has imported all they need."""
    multiprocessing.set_forkserver_preload(["btsee_lib.store.results", "lightning_fabric"])
    meeting = ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", f"--rdzv-id={root}, {killed_after}"]
    forks = ["--start-method=forkserver", "--signals-to-handle="]
    options = torchrun.parse_args(["--nproc-per-node=2", *meeting, *forks, two_processes.__file__])
    config, *_ = torchrun.config_from_args(options)
    elastic_launch(config, two_processes.make_in)(str(root), killed_after)


@pytest.fixture(scope="module")
def together(repository, tmp_path_factory):
    """What two processes made, started as ``torchrun`` does."""
    root = small_repository(tmp_path_factory.mktemp("two") / "root", repository, processes=2)
    launch(root)
    return root


@pytest.fixture(scope="module")
def alone(repository, tmp_path_factory):
    root = small_repository(tmp_path_factory.mktemp("one") / "root", repository, processes=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        stored.make_backbone_and_features(iter)
    return root


def test_two_processes_see_as_many_images_as_one_and_share_them_evenly(together):
    seen = [json.loads((together / f"seen_{rank}.json").read_text())["trained_on"] for rank in (0, 1)]
    assert seen == [SMALL["backbone"]["epochs"] * IMAGES // 2] * 2


def test_two_processes_learn_as_one_does(together, alone):
    """They differ by the statistics of the batch normalisation, which are those of half a batch."""
    two, one = (pd.read_csv(root / "artifacts/backbone/history.csv") for root in (together, alone))
    assert two["learning_rate"].tolist() == one["learning_rate"].tolist()
    assert two["train_loss"].tolist() == pytest.approx(one["train_loss"].tolist(), rel=0.1)
    assert two["train_loss"].iloc[-1] < two["train_loss"].iloc[0]


def test_two_processes_that_were_killed_go_on_to_the_same_bytes(together, repository, tmp_path):
    root = small_repository(tmp_path / "root", repository, processes=2)
    with pytest.raises(ChildFailedError):
        launch(root, killed_after=1)
    assert not (root / "artifacts/backbone").exists()
    launch(root)
    seen = json.loads((root / "seen_0.json").read_text())["trained_on"]
    assert seen == (SMALL["backbone"]["epochs"] - 1) * IMAGES // 2
    for name in ("backbone.pt", "history.csv"):
        made = [each / "artifacts/backbone" / name for each in (root, together)]
        assert made[0].read_bytes() == made[1].read_bytes(), name


def test_two_processes_store_the_bytes_that_one_stores(together, monkeypatch, tmp_path):
    monkeypatch.chdir(together)
    splits = stored.load_data()
    backbone, _ = stored.load_backbone(splits)
    store_features(backbone, splits, tmp_path, params("features"))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 15
    for name in names:
        assert (tmp_path / name).read_bytes() == (together / "artifacts/features" / name).read_bytes(), name


def test_what_torchrun_made_is_what_the_notebook_loads(together, monkeypatch):
    monkeypatch.chdir(together)
    monkeypatch.setattr(backbone_artefact, "new_fabric", None)
    splits = stored.load_data()
    backbone, history = stored.make_backbone(splits)
    features = stored.make_features(backbone, splits)
    assert len(history) == SMALL["backbone"]["epochs"]
    assert {name: len(split) for name, split in features.items()} == dict.fromkeys(features, IMAGES)
    assert np.isfinite(features["test"].logits.numpy()).all()
    assert not list((together / "artifacts/checkpoints").iterdir())
    assert not list((together / "artifacts").glob(".*"))


def test_the_notebooks_stage_starts_the_processes_itself(together, monkeypatch):
    monkeypatch.chdir(together)
    started = []
    monkeypatch.setattr(
        backbone_artefact, "run_together", lambda *arguments: started.append(arguments) or False
    )
    content = yaml.safe_load((together / "params.yaml").read_text())
    content["backbone"]["seed"] = 1
    before = (together / "params.yaml").read_text()
    (together / "params.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(RuntimeError, match="failed in one of 2 processes"):
        stored.make_backbone(stored.load_data())
    (together / "params.yaml").write_text(before)
    ((command, processes, folder),) = started
    assert command[1:] == ["-m", "btsee_lib.pipeline", "backbone"]
    assert processes == 2
    assert folder == together.resolve()


def test_another_number_of_processes_than_the_parameters_say_is_refused(monkeypatch):
    with pytest.raises(ParameterError, match=r"compute\.processes is 3, but 1 were started"):
        new_fabric(processes=3)
    monkeypatch.setattr(compute.torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ParameterError, match=r"compute\.processes is 3, but this machine has 2 GPUs"):
        backbone_artefact.launch(3, "backbone")


def test_a_borrowed_module_comes_back_also_after_an_error(monkeypatch):
    module = nn.Linear(2, 2)
    with borrowed(module) as device:
        assert device == next(module.parameters()).device == compute.compute_device()
    module = nn.Linear(2, 2, device="meta")
    monkeypatch.setattr(compute, "compute_device", lambda: torch.device("meta"))
    with pytest.raises(KeyError), borrowed(module):
        assert next(module.parameters()).is_meta
        raise KeyError
    assert next(module.parameters()).is_meta


def test_data_goes_to_a_gpu_where_it_takes_half_of_its_memory_at_most(monkeypatch):
    monkeypatch.setattr(compute.torch.cuda, "mem_get_info", lambda device: (1000, 5000))
    gpu = torch.device("cuda")
    assert [fits(number, gpu) for number in (0, 500, 501)] == [True, True, False]
    assert not fits(1, torch.device("cpu"))


def test_one_seed_makes_every_generator_repeat_itself():
    def draw():
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    set_up_torch(7)
    first = draw()
    set_up_torch(7)
    assert draw() == first
    set_up_torch(8)
    assert all(a != b for a, b in zip(draw(), first, strict=True))
    set_up_torch(0)


def test_torch_is_deterministic_on_at_most_the_given_threads():
    before = torch.get_num_threads()
    set_up_torch(0, max_threads=1)
    assert torch.get_num_threads() == 1
    assert torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(before)
