"""What is written to the disk is whole or not there, and room for it is looked for first.

A file or folder is written under a temporary name and renamed. A *checkpoint*, the state of a training that is
under way, also carries the digest of its own content, so a damaged one is never used; its name holds the digest
of what it belongs to, so neither is one of other parameters.
"""

import errno
import hashlib
import io
import os
import platform
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch

from btsee_lib.errors import DataError

DIGEST = 32  # bytes, in front of a checkpoint
ABANDONED = 24 * 3600  # seconds after which another machine's half-written folder is nobody's


def replace_folder(folder: Path, make: Callable[[Path], None]) -> None:
    """Make a folder under another name; it takes the place of ``folder`` once it is complete.

    Parameters
    ----------
    make : writes everything into the folder that it is given.

    Raises
    ------
    DataError
        If the disk is full.
    """
    _remove_left_overs(folder)
    partial = folder.with_name(f".{folder.name}.{platform.node()}.{os.getpid()}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        make(partial)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except OSError as problem:
        raise full_disk_named(problem, folder) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _remove_left_overs(folder: Path) -> None:
    """Remove what killed runs have left, and nothing that a running one is writing."""
    for left_over in folder.parent.glob(f".{folder.name}.*.partial"):
        machine, process = left_over.name.removesuffix(".partial").rsplit(".", 1)
        if machine == f".{folder.name}.{platform.node()}":
            abandoned = not (process.isdigit() and psutil.pid_exists(int(process)))
        else:
            abandoned = time.time() - left_over.stat().st_mtime > ABANDONED
        if abandoned:
            shutil.rmtree(left_over, ignore_errors=True)


def full_disk_named(problem: OSError, path: Path) -> OSError | DataError:
    """Return the error itself, or where the disk is full a sentence that names what was to be written."""
    if problem.errno != errno.ENOSPC:
        return problem
    return DataError(f"{path} could not be written, the disk is full: free some space and run again")


def check_space(folder: Path, needed: int, remedy: str = "free it") -> None:
    """Raise a DataError unless the disk of ``folder`` has ``needed`` bytes left."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        left, required = free // 10**6, -(-needed // 10**6)  # megabytes, rounded apart
        raise DataError(f"{folder} has {left:,} MB of disk space left, {required:,} MB are needed: {remedy}")


class Checkpoint:
    """One file, written again after every epoch and removed when the training's result is safe."""

    def __init__(self, path: Path):
        self.path = path

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint by ``state``: tensors, numbers and strings, nested in dicts and lists."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getvalue()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(f".{os.getpid()}.partial")
        partial.write_bytes(hashlib.blake2b(content, digest_size=DIGEST).digest() + content)
        partial.replace(self.path)

    def load(self) -> dict[str, Any] | None:
        """Return the state, its tensors on the CPU, or None where there is none that is whole."""
        if not self.path.is_file():
            return None
        written = self.path.read_bytes()
        digest, content = written[:DIGEST], written[DIGEST:]
        if hashlib.blake2b(content, digest_size=DIGEST).digest() != digest:
            print(f"checkpoint {self.path.name} is damaged: the training starts anew")
            return None
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)

    def remove(self) -> None:
        """Delete the file, if there is one, and what killed processes have left of it."""
        for file in (self.path, *self.path.parent.glob(f"{self.path.stem}.*.partial")):
            file.unlink(missing_ok=True)
