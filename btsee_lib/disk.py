"""What is written to the disk is whole or not there, and room for it is looked for first."""

import errno
import os
import platform
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from btsee_lib.data.splits import DataError

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
        left, wanted = free // 10**6, -(-needed // 10**6)  # megabytes, rounded apart
        raise DataError(f"{folder} has {left:,} MB of disk space left, {wanted:,} MB are needed: {remedy}")
