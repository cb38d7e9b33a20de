import numpy as np
import torch

from btsee_lib.deployment import machine


def test_the_machine_is_named():
    told = machine.machine_table(onnx_threads=3).set_index("name")["value"]
    assert told["threads of ONNX Runtime"] == 3
    assert told["threads of PyTorch"] == torch.get_num_threads()
    assert {"processor", "cores", "torch", "onnxruntime"} <= set(told.index)
    assert np.all(told.notna())
