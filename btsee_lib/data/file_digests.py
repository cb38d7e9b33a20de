"""Digests of files, read in pieces."""

import hashlib
from functools import cache
from pathlib import Path


def digest_of_file(path: Path, kind: str) -> str:
    """Digest of a file's content, a second for 1 GB: once a process, while size and time of change stay.

    Parameters
    ----------
    kind : as ``hashlib`` calls it, "md5" or "sha256".
    """
    state = path.stat()
    return _digest(path, kind, state.st_size, state.st_mtime_ns)


@cache
def _digest(path: Path, kind: str, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()
