import subprocess
import sys

import torch

from btsee_lib import torchvision_schemas

IN_A_FRESH_PROCESS = """
import btsee_lib, torch, torchvision
print(torchvision.models.resnet18(num_classes=3).eval()(torch.zeros(1, 3, 32, 32)).shape[1])
print(hasattr(torch.ops.torchvision, "nms"), hasattr(torch.ops.torchvision, "qnms"))
"""


def test_torchvision_can_be_imported_after_the_library_in_a_fresh_process(tmp_path):
    command = [sys.executable, "-c", IN_A_FRESH_PROCESS]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["3", "True", "True"]


def test_nothing_is_declared_where_the_operators_exist():
    existing = {name: getattr(torch.ops.torchvision, name) for name in torchvision_schemas.SCHEMAS}
    assert torchvision_schemas.declare() is False
    assert all(getattr(torch.ops.torchvision, name) is each for name, each in existing.items())


def test_the_declared_schemas_are_those_of_torchvision():
    for name in torchvision_schemas.SCHEMAS:
        schema = str(getattr(torch.ops.torchvision, name).default._schema)
        assert schema == f"torchvision::{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
