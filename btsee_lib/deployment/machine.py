"""The machine that times belong to: its processor, and with how many threads it runs."""

import os

import onnxruntime
import pandas as pd
import torch

from btsee_lib.compute import processor


def machine_table(onnx_threads: int) -> pd.DataFrame:
    """What the times belong to: ``name, value``."""
    values = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads of PyTorch": torch.get_num_threads(),
        "threads of ONNX Runtime": onnx_threads,
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
    }
    return pd.DataFrame(list(values.items()), columns=["name", "value"])
