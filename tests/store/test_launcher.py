"""Processes that train together talk through the loopback interface alone."""

import json
import sys

from btsee_lib.store.launcher import run_together

MEET = """
import json, os, pathlib, psutil, torch, torch.distributed as dist
dist.init_process_group("gloo")
total = torch.ones(1)
dist.all_reduce(total)
listening = [
    each.laddr.ip
    for process in (psutil.Process(), psutil.Process().parent())
    for each in process.net_connections("inet")
    if each.status == "LISTEN"
]
dist.barrier()
pathlib.Path(f"{os.environ['RANK']}.json").write_text(json.dumps([total.item(), listening]))
"""


def test_they_share_their_work_and_listen_to_nobody_outside(tmp_path):
    assert run_together([sys.executable, "-c", MEET], 2, tmp_path)
    for rank in (0, 1):
        total, listening = json.loads((tmp_path / f"{rank}.json").read_text())
        assert total == 2
        assert listening
        assert set(listening) == {"127.0.0.1"}


def test_once_one_fails_the_others_are_ended(tmp_path):
    code = "import os, sys, time; sys.exit(3) if os.environ['RANK'] == '1' else time.sleep(60)"
    assert not run_together([sys.executable, "-c", code], 2, tmp_path)
