"""Download one large file from the first mirror that serves it whole.

The library pooch chooses where it is written meanwhile and compares its md5 before it gets its final name;
``_stream`` fetches it. A download that breaks off is not resumed: the next mirror, or the next run, starts
anew.
"""

import functools
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from tqdm import tqdm

from btsee_lib.data.file_digests import digest_of_file
from btsee_lib.disk import check_space, full_disk_named
from btsee_lib.errors import DataError

if TYPE_CHECKING:
    from requests import Response

TIMEOUT = (10, 60)  # seconds: to connect, and between two pieces
PIECE_BYTES = 2**20
PACE_SECONDS, PACE_BYTES = 60, 2**16  # a server that sends less in that time is given up


def fetch(mirrors: Sequence[str], target: Path, size: int, md5: str, more_space: int = 0) -> None:
    """Make sure that ``target`` is the file of this md5.

    Parameters
    ----------
    mirrors : addresses of the file, tried in this order.
    size : bytes of the file.
    more_space : bytes that must stay free on the disk beside the file.

    Raises
    ------
    DataError
        If the file is there but another one, the disk is too small, or no mirror serves.
    """
    import pooch  # where it is needed: with it comes tqdm.auto, which prints a warning into notebooks

    if target.is_file():
        found = digest_of_file(target, "md5")
        if found != md5:
            raise DataError(f"{target} is damaged (md5 {found}, expected {md5}): delete it and run again")
        return
    if target.exists():
        raise DataError(f"{target} is no file, and one is to be written there: move it away and run again")
    target.parent.mkdir(parents=True, exist_ok=True)
    check_space(target.parent, size + more_space)
    pooch.get_logger().setLevel("WARNING")  # the bar tells enough
    partial = target.with_name(f".{target.name}.partial")  # a folder, in which pooch writes
    failures = []
    for mirror in mirrors:
        try:
            with tqdm(total=size, desc=target.name, unit="B", unit_scale=True, leave=False) as bar:
                downloader = functools.partial(_stream, bar)
                whole = pooch.retrieve(mirror, f"md5:{md5}", target.name, partial, downloader=downloader)
            Path(whole).chmod(0o644)  # like any other file, not for its owner alone
            Path(whole).replace(target)
            return
        except Exception as problem:  # whatever it is, the next mirror may serve
            named = full_disk_named(problem, target) if isinstance(problem, OSError) else problem
            failures.append(f"{mirror} ({reason_of(named)})")
        finally:
            shutil.rmtree(partial, ignore_errors=True)  # with what a killed run may have left in it
    raise DataError(
        f"{target.name} could not be downloaded: {'; '.join(failures) or 'data.mirrors is empty'}. Connect to "
        f"a network and run again, put the file into {target.parent}, or name it in data.path"
    )


def _stream(bar: tqdm, mirror: str, path: str, _: object) -> None:
    """Write what a mirror sends into a file, as long as it keeps pace: pooch's own would wait for ever."""
    with _answer_of(mirror) as answer, Path(path).open("wb") as file:
        answer.raise_for_status()
        since, received = time.monotonic(), 0
        while piece := answer.raw.read1(PIECE_BYTES):
            file.write(piece)
            bar.update(len(piece))
            received += len(piece)
            if time.monotonic() - since > PACE_SECONDS:
                if received < PACE_BYTES:
                    raise TimeoutError(f"it sends no more than {received:,} bytes in {PACE_SECONDS} seconds")
                since, received = time.monotonic(), 0


def _answer_of(mirror: str) -> "Response":
    """Ask a mirror; requests itself would wait as long as a byte of the headers comes now and then."""
    import requests

    answer: Future = Future()

    def ask() -> None:
        try:  # an archive must not be unpacked on its way
            headers = {"Accept-Encoding": "identity"}
            answer.set_result(requests.get(mirror, stream=True, timeout=TIMEOUT, headers=headers))
        except Exception as problem:
            answer.set_exception(problem)

    Thread(target=ask, daemon=True).start()
    if not wait([answer], PACE_SECONDS).done:
        raise TimeoutError(f"it has not answered in {PACE_SECONDS} seconds")
    return answer.result()


def reason_of(problem: BaseException) -> str:
    """Say in one sentence what is at the bottom of an error that a library raised."""
    while problem.__cause__ or (problem.__context__ and not problem.__suppress_context__):
        problem = problem.__cause__ or problem.__context__
    text = str(problem).strip() or type(problem).__name__
    return text.splitlines()[0].split(". ")[0].rstrip(".:")
