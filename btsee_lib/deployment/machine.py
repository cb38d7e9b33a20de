"""The machine that times belong to: its processor, and with how many threads it runs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import onnxruntime
import pandas as pd
import torch

from btsee_lib.compute import processor


@contextmanager
def exactly(threads: int) -> Iterator[None]:
    """Let torch run with just so many threads meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        if torch.get_num_threads() != threads:
            raise RuntimeError(
                f"torch runs with {torch.get_num_threads()} threads: set deployment.threads to that"
            )
        yield
    finally:
        torch.set_num_threads(before)


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
