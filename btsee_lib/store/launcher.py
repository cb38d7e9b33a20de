"""Several processes on this machine that train together and meet on its loopback interface.

``torchrun`` would start them as well; but where its processes meet, it listens on every interface of the
machine, and whoever reaches that could take part.
"""

import os
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from torch.distributed import TCPStore

LOOPBACK = "127.0.0.1"


def run_together(command: Sequence[str], processes: int, folder: Path) -> bool:
    """Run a command so many times at once, each time as one of the processes of ``torch.distributed``.

    Parameters
    ----------
    folder : where it starts.

    Returns
    -------
    bool
        Whether all of them succeeded. Once one has failed, the others are ended.
    """
    listener = socket.create_server((LOOPBACK, 0))
    port = listener.getsockname()[1]
    options = {"is_master": True, "wait_for_workers": False, "master_listen_fd": listener.detach()}
    store = TCPStore(LOOPBACK, port, **options)  # lives as long as this function, and the processes meet there
    running: list[subprocess.Popen] = []
    try:
        for rank in range(processes):
            running.append(subprocess.Popen(command, cwd=folder, env=_environment(rank, processes, store.port)))
        while any(each.poll() is None for each in running):
            if any(each.poll() for each in running):
                return False
            time.sleep(0.1)
        return not any(each.returncode for each in running)
    finally:
        for each in running:
            each.kill()
            each.wait()


def _environment(rank: int, processes: int, port: int) -> dict[str, str]:
    """The variables that ``torchrun`` sets, and the interface that the processes talk through."""
    interface = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "lo")
    own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    meeting = {"MASTER_ADDR": LOOPBACK, "MASTER_PORT": port, "TORCHELASTIC_USE_AGENT_STORE": True}
    talk = {"GLOO_SOCKET_IFNAME": interface, "NCCL_SOCKET_IFNAME": interface}
    variables = own | meeting | talk | {"GROUP_RANK": 0, "TORCHELASTIC_RUN_ID": "here"}
    threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    return os.environ | threads | {name: str(value) for name, value in variables.items()}
