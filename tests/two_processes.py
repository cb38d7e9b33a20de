"""Started by ``torchrun`` in test_compute: makes backbone and features, and says what this process saw.

With ``KILLED_AFTER_EPOCHS`` the first process dies so soon.
"""

import json
import os
from pathlib import Path

from torch import Tensor
from torch.nn.modules.module import register_module_forward_pre_hook

from btsee_lib.backbone import StagedResNet18
from btsee_lib.disk import Checkpoint
from btsee_lib.store.results import make_backbone_and_features

seen = {"trained_on": 0}
killed_after = int(os.environ.get("KILLED_AFTER_EPOCHS", "0"))
save = Checkpoint.save


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
