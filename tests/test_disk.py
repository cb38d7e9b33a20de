import errno
import os
import platform
import shutil
import subprocess
import sys
import time

import pytest
import torch

from btsee_lib import disk
from btsee_lib.disk import Checkpoint, check_space, replace_folder
from btsee_lib.errors import DataError


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "parent" / "results"


def write(content):
    return lambda partial: (partial / "file").write_text(content)


def test_a_folder_is_replaced_as_a_whole(folder):
    replace_folder(folder, write("first"))
    replace_folder(folder, write("second"))
    assert (folder / "file").read_text() == "second"
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError(errno.ENOSPC, "full"), ValueError])
def test_where_making_stops_the_older_folder_stays_and_nothing_else(folder, stop):
    def stopped(partial):
        write("half")(partial)
        raise stop

    replace_folder(folder, write("first"))
    with pytest.raises((KeyboardInterrupt, DataError, ValueError)) as caught:
        replace_folder(folder, stopped)
    assert (folder / "file").read_text() == "first"
    assert list(folder.parent.iterdir()) == [folder]
    if isinstance(stop, OSError):
        assert "results could not be written, the disk is full: free some space" in str(caught.value)


def left_over(folder, machine, process, age=0):
    partial = folder.with_name(f".{folder.name}.{machine}.{process}.partial")
    partial.mkdir(parents=True)
    os.utime(partial, (time.time() - age,) * 2)
    return partial


def test_what_a_dead_process_left_is_removed_and_what_a_living_one_writes_is_not(folder):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead, living = (left_over(folder, platform.node(), number) for number in (ended.pid, os.getppid()))
    replace_folder(folder, write("first"))
    assert not dead.exists()
    assert living.exists()


def test_what_another_machine_writes_is_removed_only_after_a_day(folder):
    ours = left_over(folder, "another.machine", os.getpid(), age=disk.ABANDONED - 600)
    theirs = left_over(folder, "another.machine", 1, age=disk.ABANDONED + 600)
    replace_folder(folder, write("first"))
    assert ours.exists()
    assert not theirs.exists()


def test_too_little_space_is_named_with_what_is_needed_and_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9 - 3 * 10**6, 3 * 10**6)
    )
    check_space(tmp_path, 3 * 10**6)
    with pytest.raises(DataError, match=r"has 3 MB of disk space left, 4 MB are needed: use float16"):
        check_space(tmp_path, 4 * 10**6, "use float16")


STATE = {
    "weights": torch.arange(3.0),
    "optimizer": {"state": {0: {"step": 2}}},
    "rows": [{"epoch": 1, "loss": 0.5}],
}


@pytest.fixture
def checkpoint(tmp_path):
    return Checkpoint(tmp_path / "folder" / "training.pt")


def test_what_was_saved_last_is_loaded(checkpoint):
    checkpoint.save({"rows": []})
    checkpoint.save(STATE)
    loaded = checkpoint.load()
    assert torch.equal(loaded.pop("weights"), STATE["weights"])
    assert loaded == {name: STATE[name] for name in ("optimizer", "rows")}
    assert [path.name for path in checkpoint.path.parent.iterdir()] == ["training.pt"]


def test_without_a_file_there_is_no_state(checkpoint):
    assert checkpoint.load() is None
    checkpoint.remove()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda _: b"",
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: content[:200] + bytes([content[200] ^ 1]) + content[201:],
    ],
)
def test_a_damaged_one_is_not_used_and_named(checkpoint, damage, capsys):
    checkpoint.save(STATE)
    checkpoint.path.write_bytes(damage(checkpoint.path.read_bytes()))
    assert checkpoint.load() is None
    assert "training.pt is damaged" in capsys.readouterr().out


def test_an_interrupted_write_leaves_the_one_before(checkpoint, monkeypatch):
    checkpoint.save(STATE)

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(checkpoint.path), "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.save({"rows": []})
    assert checkpoint.load()["rows"] == STATE["rows"]


def test_it_is_gone_after_its_removal(checkpoint):
    checkpoint.save(STATE)
    checkpoint.remove()
    assert checkpoint.load() is None
