"""What is in a folder, a tar archive of any compression, or a zip archive, one file after another.

Links count as what they lead to, as long as that is within and they do not multiply. Nothing
outside is read, nothing is unpacked, and only regular files are opened.
"""

import os
import posixpath
import re
import stat
import tarfile
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from btsee_lib.data.download import reason_of
from btsee_lib.errors import DataError

SYSTEM_FOLDERS = frozenset(("@eadir", "__macosx", "$recycle.bin", "#recycle", "lost+found", "__pycache__"))
OTHER_KINDS = {b"7z\xbc\xaf": "7z", b"Rar!": "rar", b"\x28\xb5\x2f\xfd": "zstandard", b"MSCF": "cab"}
NO_TEXT = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")  # what no name of UTF-8 text holds
LEADS_OUT = "a link that leads out or nowhere"
NO_FILE = "no regular file"
EMPTY = "an empty folder"
IN_HIDDEN = "in a hidden folder"
PIECE_BYTES = 2**16
LONGEST_HEADER = 2**20  # bytes of what a tar tells of one member: tarfile reads them into memory at once
LONG_HEADERS = b"xgXLK"  # their kinds: of POSIX for one and for all members, of Solaris, and two of GNU
MOST_NAMES = 3  # of a folder: links to each other in a dozen folders would give each of them millions


class Member(NamedTuple):
    """A file by its name below the source, parts joined by "/"; ``why`` tells why it must not be read."""

    name: str
    size: int = 0
    read: Callable[[], bytes] = bytes
    why: str = ""
    target: str = ""  # of a link in an archive


def contents_of(source: Path, why_not: Callable[[str, int], str]) -> Iterator[tuple[str, bytes | None, str]]:
    """Yield name, content and "" of each file, or None for the content and why it was not read.

    Of folders that hide or are the system's (``.ipynb_checkpoints``, ``@eaDir``), what would be read is named.

    Parameters
    ----------
    why_not : given name and bytes, says why a file is not to be read, "" if it is.

    Raises
    ------
    DataError
        If the source cannot be read or is no whole archive, or if a name of what is read is no text.
    """
    try:
        for member in chain(files_of(source), _hidden_in(source)) if source.is_dir() else _in_archive(source):
            why = member.why or why_not(member.name, member.size)
            if any(_is_hidden(part) for part in member.name.split("/")[:-1]):
                if not (why or NO_TEXT.search(member.name)):
                    yield member.name, None, IN_HIDDEN
                continue
            _check(posixpath.dirname(member.name) if why and not member.why else member.name, source)
            yield member.name, None if why else member.read(), why
    except DataError:
        raise
    except Exception as problem:  # tarfile and zipfile raise nearly anything on a damaged archive
        if isinstance(problem, OSError) and problem.errno is not None:  # of the disk, not of the content
            raise DataError(f"{source} cannot be read ({problem}): correct that and run again") from None
        if isinstance(problem, RuntimeError):  # a password, a compression that Python lacks, depth
            raise DataError(
                f"{source} cannot be read as it is ({reason_of(problem)}): unpack it, into folders that are "
                "not nested so deeply, and name the folder in data.path"
            ) from None
        raise DataError(
            f"{source} is truncated or not a tar or zip archive ({reason_of(problem)}): fetch it again, or "
            "name another in data.path"
        ) from None


def _check(name: str, source: Path) -> None:
    if NO_TEXT.search(name):
        raise DataError(f"{source}: the name {name!a} is not UTF-8 or has a line break: rename it")


def _is_hidden(folder: str) -> bool:
    return (folder.startswith(".") and folder != "..") or folder.lower() in SYSTEM_FOLDERS


def files_of(
    root: Path, place: str = "", above: tuple[str, ...] = (), met: Counter[str] | None = None
) -> Iterator[Member]:
    """Walk through a folder in the order of names.

    Parameters
    ----------
    above : the real paths of the folders that lead here.
    met : how often each folder was met, by its real path.

    Raises
    ------
    DataError
        If links give a folder more than ``MOST_NAMES`` names.
    """
    above, met = (*above, os.path.realpath(root / place)), Counter() if met is None else met
    met[above[-1]] += 1
    if met[above[-1]] > MOST_NAMES:
        raise _multiplied(root, place)
    with os.scandir(root / place) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    if not ordered:
        yield Member(f"{place}/", why=EMPTY)
    for entry in ordered:
        name, is_folder = posixpath.join(place, entry.name), entry.is_dir()
        real = Path(os.path.realpath(entry)) if is_folder or entry.is_symlink() else Path(entry)
        if entry.is_symlink() and not (real.is_relative_to(above[0]) and real.exists()):
            yield Member(f"{name}/" if is_folder else name, why=LEADS_OUT)
        elif entry.is_file():
            yield Member(name, entry.stat().st_size, Path(entry).read_bytes)
        elif not is_folder:
            yield Member(name, why=NO_FILE)
        elif str(real) not in above and not _is_hidden(entry.name):  # what holds it leads round in circles
            yield from files_of(root, name, above, met)


def _hidden_in(root: Path) -> Iterator[Member]:
    """Yield the files of folders that are not looked into, as far as they may be listed."""
    for place, _, names in os.walk(root):
        folder = Path(place).relative_to(root)
        if any(map(_is_hidden, folder.parts)):
            yield from (Member((folder / name).as_posix()) for name in names)


def _multiplied(source: Path, folder: str) -> DataError:
    return DataError(
        f"{source}: links give the folder {folder} more than {MOST_NAMES} names, and its pictures would count "
        "as often: remove links"
    )


def _in_archive(source: Path) -> Iterator[Member]:
    """Yield the members of an archive, then, reading it again, what its links lead to."""
    links, met = defaultdict(list), set()  # by their targets
    for member in _stored(source):
        if not member.target:
            yield member
        elif not member.name.startswith(f"{member.target}/".removeprefix("./")):  # else round in circles
            links[member.target].append(member.name)
    names_of = cache(lambda folder: len(list(islice(_other_names(folder, links), MOST_NAMES))))
    for member in _stored(source) if links else ():
        if names_of(posixpath.dirname(member.name)) == MOST_NAMES:  # beside its own
            raise _multiplied(source, posixpath.dirname(member.name))
        read_once = cache(member.read)
        for link, name in () if member.target else _other_names(member.name, links):
            met.add(link)
            yield member._replace(name=name, read=read_once)
    yield from (Member(link, why=LEADS_OUT) for names in links.values() for link in names if link not in met)


def _other_names(
    name: str, links: dict[str, list[str]], passed: tuple[str, ...] = ()
) -> Iterator[tuple[str, str]]:
    """Yield each link that leads to a file or to a folder above it, with the file's name behind the link."""
    for end in [match.start() for match in re.finditer("/|$", name)]:
        for link in links.get(name[:end], ()):
            if link not in passed:
                yield link, link + name[end:]
                yield from _other_names(link + name[end:], links, (*passed, link))


def _stored(source: Path) -> Iterator[Member]:
    """Yield the members of an archive as they are stored, folders and those without a name left out."""
    with source.open("rb") as file:
        start = file.read(4)
    if kind := OTHER_KINDS.get(start):
        raise DataError(
            f"{source} is a {kind} archive, which is not read: unpack it, and name its folder instead"
        )
    for member in (_in_zip if start.startswith(b"PK") else _in_tar)(source):
        if name := _plain(member.name):
            yield member._replace(name=name)


class _Header(tarfile.TarInfo):
    """A header of a tar: at one that is damaged or cut, tarfile itself would stop as at the end."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> "_Header":
        try:
            header = super().frombuf(buf, encoding, errors)
        except (tarfile.EmptyHeaderError, tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as problem:
            raise tarfile.ReadError(str(problem)) from None
        if header.type in LONG_HEADERS and header.size > LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {header.size:,} bytes")
        return header


def _in_tar(source: Path) -> Iterator[Member]:
    with tarfile.open(source, tarinfo=_Header) as archive:
        for member in archive:
            if member.isfile():
                yield Member(member.name, member.size, archive.extractfile(member).read)
            elif member.islnk():
                yield Member(member.name, target=_plain(member.linkname))
            elif member.issym():
                yield Member(member.name, target=_behind(member.name, member.linkname))
            elif not member.isdir():
                yield Member(member.name, why=NO_FILE)
            archive.members.clear()  # the list would grow with the archive
        # Behind a first block of zeros, and up to the checksum of the whole: tarfile leaves both unread.
        rest = iter(partial(archive.fileobj.read, PIECE_BYTES), b"")
        behind = [(len(piece), piece.count(0)) for piece in rest]
        if not tarfile.BLOCKSIZE <= sum(size for size, _ in behind) == sum(zeros for _, zeros in behind):
            raise tarfile.ReadError("it does not end in two blocks of zeros")


def _in_zip(source: Path) -> Iterator[Member]:
    with zipfile.ZipFile(source) as archive:
        for member in archive.infolist():
            name = member.filename.replace("\\", "/")
            if stat.S_ISLNK(member.external_attr >> 16) and member.file_size < PIECE_BYTES:
                yield Member(name, target=_behind(name, os.fsdecode(archive.read(member))))
            elif not member.is_dir():
                yield Member(name, member.file_size, partial(archive.read, member))


def _plain(name: str) -> str:
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _behind(link: str, target: str) -> str:
    """Where a symbolic link leads, as a name in the archive; one that leads out is the name of nothing."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(_plain(link)), target))
