"""A reproducible torch, and the same code on one CPU, one GPU, several of them, or several machines.

The engine is Lightning Fabric over ``torch.distributed``. Hugging Face Accelerate would do as well:
both leave the training loop to its author. Fabric brings one further package along and Accelerate
seven, among them the client of a model hub; and Fabric is made in place, whereas Accelerate also
reads a configuration file of the machine, which no fingerprint would know of. Fabric takes seconds
to import, so it is imported where work starts, not where results are loaded.
"""

import os
import platform
import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from btsee_lib.errors import ParameterError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

LONGEST_WAIT = timedelta(hours=3)


def set_up_torch(seed: int, max_threads: int = 2) -> torch.device:
    """Seed everything, ask for deterministic algorithms, and choose the device.

    At most ``max_threads`` CPU threads are used, and fewer where ``OMP_NUM_THREADS`` says so: the
    number of threads changes the last digits, so it is held where it can be.
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # A GPU lacks some deterministic operators: it says so there, and does not end a long run.
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    torch.backends.cudnn.allow_tf32 = False  # 32 bits are 32 bits
    # Filling fresh memory is for finding errors; it costs a third of the training time here.
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.set_num_threads(min(max_threads, torch.get_num_threads()))
    return compute_device()


def compute_device() -> torch.device:
    """Return the device that the heavy work runs on: a GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def borrowed(module: nn.Module) -> Iterator[torch.device]:
    """Move a module to the compute device and back; on a machine without a GPU nothing moves."""
    home, device = next(module.parameters()).device, compute_device()
    module.to(device)
    try:
        yield device
    finally:
        module.to(home)


def training_format(width: int) -> torch.memory_format:
    """Return the order of numbers in which a backbone of this width is trained: channels last from 16 on.

    Below, oneDNN's backward pass of a convolution with channels last writes where it must not, if threads get
    unequal parts of a batch: torch 2.13 crashes at width 8, two threads and 101 images.
    """
    return torch.channels_last if width >= 16 else torch.contiguous_format


def fits(number: int, device: torch.device) -> bool:
    """Tell whether ``number`` bytes take no more than half of what a GPU has free; a CPU needs no copy."""
    return device.type == "cuda" and number <= torch.cuda.mem_get_info(device)[0] / 2


def new_fabric(precision: str = "32-true", processes: int = 1) -> "Fabric":
    """Return the engine of this process, by default alone and in float32.

    Parameters
    ----------
    precision : "32-true" or "bf16-mixed".
    processes : how many ``torchrun`` has started, this one among them.

    Raises
    ------
    ParameterError
        If another number of processes was started.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    started = int(os.environ["WORLD_SIZE"]) if launched() else 1
    if started != processes:
        raise ParameterError(
            f"params.yaml: compute.processes is {processes}, but {started} were started: let them agree"
        )
    here = int(os.environ["LOCAL_WORLD_SIZE"]) if launched() else 1
    fabric = Fabric(
        accelerator=compute_device().type,
        devices=here,
        num_nodes=started // here,
        # The others wait while the first process fetches or unpacks data.
        strategy=DDPStrategy(timeout=LONGEST_WAIT) if started > 1 else "auto",
        precision=precision,
    )
    fabric.launch()
    return fabric


def launched() -> bool:
    """Tell whether ``torchrun`` started this process."""
    return torch.distributed.is_available() and torch.distributed.is_torchelastic_launched()


def processor() -> str:
    """What the processor calls itself."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()
