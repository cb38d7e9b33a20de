"""What each of two processes does in test_compute: makes backbone and features, and says what it saw."""

import json
import os
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.modules.module import register_module_forward_pre_hook

from btsee_lib.backbone import StagedResNet18
from btsee_lib.disk import Checkpoint
from btsee_lib.store.results import make_backbone_and_features


def make_and_count(killed_after: int = 0) -> None:
    """Make both in the working directory; die as soon as a checkpoint holds ``killed_after`` epochs."""
    seen, save = {"trained_on": 0}, Checkpoint.save

    def count(module: object, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(module, StagedResNet18) and module.training:
            seen["trained_on"] += len(inputs[0])

    def save_and_die(checkpoint: Checkpoint, state: dict) -> None:
        save(checkpoint, state)
        if len(state["rows"]) == killed_after:
            os._exit(1)

    Checkpoint.save = save_and_die
    register_module_forward_pre_hook(count)
    make_backbone_and_features(iter)
    Path(f"seen_{os.environ['RANK']}.json").write_text(json.dumps(seen))


def make_in(root: str, killed_after: int = 0) -> None:
    """Do so in a folder, with one thread."""
    os.chdir(root)
    torch.set_num_threads(1)
    make_and_count(killed_after)
