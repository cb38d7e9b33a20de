"""Download one large file from the first mirror that serves it whole.

A break is resumed where it happened, also in a later run and from another mirror, because the size
and the md5 of the file are known. The file has its final name only once its md5 is right.
"""

import hashlib
import re
import time
from collections.abc import Sequence
from pathlib import Path

import requests
import urllib3
from tqdm import tqdm

from btsee_lib.disk import check_space, full_disk_named
from btsee_lib.data.splits import DataError

TIMEOUT = (10, 60)  # seconds: to connect, and between two pieces
PIECE_BYTES = 2**20
FRUITLESS_ATTEMPTS = 3  # in a row, after which a mirror is given up
PAUSE = 1.0  # seconds before the second attempt


def fetch(mirrors: Sequence[str], target: Path, size: int, md5: str, more_space: int = 0) -> str:
    """Make sure that ``target`` is the file of this size and md5.

    Parameters
    ----------
    mirrors : addresses of the file, tried in this order.
    more_space : bytes that must stay free on the disk beside the file.

    Returns
    -------
    str
        The mirror that served, or "a file in the data folder".

    Raises
    ------
    DataError
        If the file is there but another one, the disk is too small, or no mirror serves.
    """
    if target.is_file():
        verify(target, size, md5)
        return "a file in the data folder"
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.partial")
    check_space(target.parent, size - _bytes_of(partial) + more_space)
    failures = []
    for mirror in mirrors:
        try:
            _fetch_from(mirror, partial, size, md5)
        except (requests.RequestException, urllib3.exceptions.HTTPError, DataError) as problem:
            failures.append(f"{mirror} ({_reason(problem)})")
            continue
        except OSError as problem:
            raise full_disk_named(problem, partial) from None
        partial.replace(target)
        return mirror
    raise DataError(
        f"{target.name} could not be downloaded: {'; '.join(failures) or 'data.mirrors is empty'}. Connect to "
        f"a network and run again (a broken download is resumed), put the file into {target.parent}, or "
        f"name it in data.path"
    )


def verify(path: Path, size: int, md5: str) -> None:
    """Raise a DataError unless the file has this size and md5."""
    found = path.stat().st_size
    if found != size:
        raise DataError(f"{path} has {found:,} bytes, not {size:,}: delete it and run again")
    found = md5_of(path)
    if found != md5:
        raise DataError(f"{path} is damaged (md5 {found}, expected {md5}): delete it and run again")


def md5_of(path: Path) -> str:
    """Return the md5 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _fetch_from(mirror: str, partial: Path, size: int, md5: str) -> None:
    resumed = _bytes_of(partial) > 0
    _complete(mirror, partial, size)
    if md5_of(partial) != md5:
        partial.unlink()
        if not resumed:
            raise DataError("serves other bytes: the md5 is wrong")
        _fetch_from(mirror, partial, size, md5)  # what was there before may have been to blame


def _complete(mirror: str, partial: Path, size: int) -> None:
    """Append to ``partial`` until it has ``size`` bytes, however often the connection breaks."""
    furthest, fruitless = _bytes_of(partial), 0
    while _bytes_of(partial) < size:
        try:
            _append(mirror, partial, size)
            problem = DataError(f"stops after {_bytes_of(partial):,} of {size:,} bytes")
        except (requests.RequestException, urllib3.exceptions.HTTPError) as broken:
            problem = broken
        if _bytes_of(partial) >= size:
            break
        # A server that cannot resume starts over: only what goes further than ever counts.
        fruitless = 0 if _bytes_of(partial) > furthest else fruitless + 1
        furthest = max(furthest, _bytes_of(partial))
        if fruitless == FRUITLESS_ATTEMPTS or furthest == 0 or isinstance(problem, requests.HTTPError):
            raise problem
        time.sleep(PAUSE * 2**fruitless)


def _append(mirror: str, partial: Path, size: int) -> None:
    """Ask once for what is missing and write what comes."""
    start = _bytes_of(partial)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with requests.get(mirror, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            partial.unlink()
            return
        response.raise_for_status()
        if start and not _starts_at(response, start):
            start = 0  # the whole file comes, or a part that was not asked for
        length = response.headers.get("Content-Length", "")
        if length.isdigit() and start + int(length) != size:
            if response.status_code == requests.codes.partial_content:
                partial.unlink()  # and ask for all of it next time
                return
            raise DataError(f"serves a file of {int(length):,} bytes, not {size:,}")
        if response.status_code == requests.codes.partial_content and not start:
            partial.unlink()
            return
        _write(response, partial, start, size)


def _starts_at(response: requests.Response, start: int) -> bool:
    told = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return response.status_code == requests.codes.partial_content and bool(told) and int(told[1]) == start


def _write(response: requests.Response, partial: Path, start: int, size: int) -> None:
    bar = tqdm(total=size, initial=start, unit="B", unit_scale=True, desc=partial.stem, leave=False)
    with partial.open("ab" if start else "wb") as file, bar:
        # Raw: a server that marks the archive as compressed content must not have it unpacked here.
        for piece in response.raw.stream(PIECE_BYTES, decode_content=False):
            file.write(piece)
            bar.update(len(piece))
            if file.tell() > size:
                raise DataError(f"serves more than {size:,} bytes")


def _bytes_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _reason(problem: Exception) -> str:
    """Say in a few words what libraries say in a paragraph."""
    if isinstance(problem, requests.HTTPError):
        return f"{problem.response.status_code} {problem.response.reason}"
    if isinstance(problem, requests.Timeout):
        return "no answer"
    if isinstance(problem, requests.ConnectionError):
        return "no connection"
    if isinstance(problem, urllib3.exceptions.HTTPError):
        return "the connection broke again and again"
    return str(problem)
