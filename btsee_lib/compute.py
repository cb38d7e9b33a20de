"""The same code on one CPU, one GPU, several of them, or several machines.

The engine is Lightning Fabric over ``torch.distributed``. Hugging Face Accelerate would do as well:
both leave the training loop to its author. Fabric brings one further package along and Accelerate
seven, among them the client of a model hub; and Fabric is made in place, whereas Accelerate also
reads a configuration file of the machine, which no fingerprint would know of. Fabric takes seconds
to import, so it is imported where work starts, not where results are loaded.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
from torch import nn

from btsee_lib.config import Compute, ParameterError, compute_device, repository_root

if TYPE_CHECKING:
    from lightning_fabric import Fabric

ALONE = Compute(precision="32-true", processes=1)
LONGEST_WAIT = timedelta(hours=3)


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


def new_fabric(wanted: Compute) -> "Fabric":
    """Return the engine of this process, one of ``wanted.processes`` that ``torchrun`` started.

    Raises
    ------
    ParameterError
        If another number of processes was started than the parameters say.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    started = int(os.environ["WORLD_SIZE"]) if launched() else 1
    if started != wanted.processes:
        raise ParameterError(
            f"params.yaml: compute.processes is {wanted.processes}, but {started} were started: let them agree"
        )
    here = int(os.environ["LOCAL_WORLD_SIZE"]) if launched() else 1
    fabric = Fabric(
        accelerator=compute_device().type,
        devices=here,
        num_nodes=started // here,
        # The others wait while the first process fetches or unpacks data.
        strategy=DDPStrategy(timeout=LONGEST_WAIT) if started > 1 else "auto",
        precision=wanted.precision,
    )
    fabric.launch()
    return fabric


def launched() -> bool:
    """Tell whether ``torchrun`` started this process."""
    return torch.distributed.is_available() and torch.distributed.is_torchelastic_launched()


def launch(processes: int, action: str) -> None:
    """Run ``btsee_lib.pipeline ACTION`` in several processes on this machine, one a GPU or CPU.

    On several machines that share the repository's folder, type the same on each:
    ``torchrun --nnodes=2 --nproc-per-node=4 --rdzv-backend=c10d --rdzv-endpoint=FIRST:29500 -m
    btsee_lib.pipeline backbone``, with ``compute.processes: 8``.

    Raises
    ------
    ParameterError
        If there are fewer GPUs than processes.
    RuntimeError
        If a process failed; what it said is on stderr.
    """
    gpus = torch.cuda.device_count()
    if 0 < gpus < processes:
        raise ParameterError(
            f"params.yaml: compute.processes is {processes}, but this machine has {gpus} GPUs: lower it, "
            "or start torchrun on each of several machines (btsee_lib/compute.py says how)"
        )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    done = subprocess.run([*torchrun, "-m", "btsee_lib.pipeline", action], cwd=repository_root())
    if done.returncode:
        raise RuntimeError(f"'btsee_lib.pipeline {action}' failed in one of {processes} processes: see above")
