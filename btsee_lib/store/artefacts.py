"""Results that take long are kept with a fingerprint of everything they were made from.

The fingerprint covers the parameters, the source code of the module that does the work and of all modules that
it imports in turn, and the fingerprints of the artefacts that went in. An artefact whose fingerprint fits is
loaded, any other is made anew: changing a figure or a sentence in a notebook retrains nothing, and no result of
other parameters is ever taken for this one's. A folder gets its final name only when it is complete, and beside
the fingerprint stands what each file held then: one that was altered is not taken for a result. What git
keeps in ``reports/measured`` is copied from there rather than made.
"""

import io
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from pydantic import BaseModel

from btsee_lib.config import SECTIONS
from btsee_lib.data.file_digests import digest_of_file
from btsee_lib.disk import replace_folder
from btsee_lib.errors import ArtefactError
from btsee_lib.experiment import current_experiment
from btsee_lib.store.code import digests_of_code, short_digest

if TYPE_CHECKING:
    from lightning_fabric import Fabric

FINGERPRINT = "fingerprint.json"


def folder_of(name: str) -> Path:
    """Return where the artefact of that name lies."""
    return current_experiment().artifacts / name


def kept(name: str) -> Path:
    """Return where an artefact, or a table of this experiment, is kept in git."""
    return current_experiment().reports / "measured" / name


def keep(name: str) -> None:
    """Copy an artefact to where it is kept in git; one that is not whole raises an ArtefactError."""
    digest_of(name)
    _copy(folder_of(name), kept(name))


def fingerprint(
    parameters: Sequence[BaseModel], maker: ModuleType, inputs: Sequence[str] = (), **others: Any
) -> dict[str, Any]:
    """Describe what an artefact is made from.

    Parameters
    ----------
    parameters : sections of ``params.yaml``.
    maker : the module that makes it: its code counts, and that of every module that it imports in turn.
    inputs : names of artefacts that go in; each must exist.
    others : what else decides the result, by name.
    """
    return {
        "parameters": {_section_name(section): section.model_dump() for section in parameters},
        "code": digests_of_code(maker.__name__),
        "inputs": {name: digest_of(name) for name in inputs},
        "torch": torch.__version__.split("+")[0],
        **others,
    }


def _section_name(section: BaseModel) -> str:
    """The name that a section has in ``params.yaml``; of what is no section there, that of its class."""
    names = {kind: name for name, kind in SECTIONS.items()}
    return names.get(type(section), type(section).__name__.lower())


def digest_of(name: str) -> str:
    """Digest of the fingerprint of an artefact that exists.

    Raises
    ------
    ArtefactError
        If there is none, or it is not whole.
    """
    return digest_of_fingerprint(_read_fingerprint(folder_of(name)))


def digest_of_fingerprint(made_from: dict[str, Any]) -> str:
    """Digest of what an artefact is made from, 16 hex digits."""
    return short_digest(json.dumps(made_from, sort_keys=True))


def is_there(name: str, expected: dict[str, Any]) -> bool:
    """Tell whether the artefact is whole and made from just what is expected; if git keeps it, take it over."""
    if _is_made_from(folder_of(name), expected):
        return True
    if taken := _is_made_from(kept(name), expected):
        _copy(kept(name), folder_of(name))
    return taken


def _copy(source: Path, target: Path) -> None:
    replace_folder(target, lambda partial: shutil.copytree(source, partial, dirs_exist_ok=True))


def _is_made_from(folder: Path, expected: dict[str, Any]) -> bool:
    try:
        return _read_fingerprint(folder) == json.loads(json.dumps(expected))
    except ArtefactError:
        return False


def ensure(name: str, expected: dict[str, Any], make: Callable[[Path], None]) -> Path:
    """Return the folder of an artefact, made first if neither it nor what git keeps is what is expected.

    Parameters
    ----------
    make : writes the artefact's files into the folder that it is given.
    """
    folder = folder_of(name)
    if is_there(name, expected):
        return folder

    def make_with_fingerprint(partial: Path) -> None:
        make(partial)
        files = list(partial.iterdir())
        sizes = {path.name: path.stat().st_size for path in files}
        digests = {path.name: digest_of_file(path, "sha256") for path in files}
        content = {"made_from": expected, "sizes": sizes, "sha256": digests}
        (partial / FINGERPRINT).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")

    replace_folder(folder, make_with_fingerprint)
    return folder


def ensure_together(
    name: str, expected: dict[str, Any], make: Callable[[Path], None], fabric: "Fabric"
) -> Path:
    """``ensure`` by all processes of ``fabric``: the first one decides, makes the folder and renames it.

    Parameters
    ----------
    make : called by every process with the same folder, which all of them must be able to reach.
    """
    if fabric.broadcast(fabric.is_global_zero and is_there(name, expected)):
        return folder_of(name)

    def make_with_the_others(partial: Path) -> None:
        fabric.broadcast(partial.name)
        make(partial)
        fabric.barrier()

    if fabric.is_global_zero:
        ensure(name, expected, make_with_the_others)
    else:
        make(folder_of(name).with_name(fabric.broadcast("")))
        fabric.barrier()
    fabric.barrier()  # only now has the folder its name
    return folder_of(name)


def require(name: str, expected: dict[str, Any], stage: str) -> Path:
    """Return the folder of an artefact that an earlier notebook makes.

    Raises
    ------
    ArtefactError
        If it is missing or was made from something else. The message names the difference.
    """
    remedy = f"run 'dvc repro {stage}' first"
    try:
        found = _read_fingerprint(folder_of(name))
    except ArtefactError as problem:
        raise ArtefactError(f"{problem}: {remedy}") from None
    if difference := _first_difference(found, json.loads(json.dumps(expected))):
        raise ArtefactError(f"artifacts/{name} is of another run ({difference}): {remedy}")
    return folder_of(name)


def save_tensors(path: Path, tensors: dict[str, Any]) -> None:
    """Write tensors (nested in dicts) so that equal tensors give equal bytes."""
    buffer = io.BytesIO()  # torch.save puts a file's own name into the bytes, a buffer has none
    torch.save(_plain(tensors), buffer)
    path.write_bytes(buffer.getvalue())


def _plain(tensors: Any) -> Any:
    """Copy tensors so that neither a larger storage nor a memory format reaches the file."""
    if isinstance(tensors, dict):
        return {name: _plain(each) for name, each in tensors.items()}
    return tensors.detach().clone(memory_format=torch.contiguous_format)


def load_tensors(path: Path) -> dict[str, Any]:
    """Read what ``save_tensors`` wrote: data only, no code is run.

    Raises
    ------
    ArtefactError
        If the file is damaged.
    """
    try:
        return torch.load(path, weights_only=True)
    except Exception:
        raise ArtefactError(f"{path} cannot be read: delete it and run 'dvc repro'") from None


def _read_fingerprint(folder: Path) -> dict[str, Any]:
    where = folder.relative_to(current_experiment().root)
    try:
        found = json.loads((folder / FINGERPRINT).read_text())
        made_from, sizes = found["made_from"], dict(found["sizes"])
        digests = dict(found.get("sha256", {}))  # none from the versions that noted sizes alone
    except FileNotFoundError:
        raise ArtefactError(f"{where} does not exist") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ArtefactError(f"{where}/{FINGERPRINT} is damaged") from None
    for file, size in sizes.items():
        if not (folder / file).is_file() or (folder / file).stat().st_size != size:
            raise ArtefactError(f"{where}/{file} is missing or truncated")
        if file in digests and digest_of_file(folder / file, "sha256") != digests[file]:
            raise ArtefactError(f"{where}/{file} was altered after it was written")
    return made_from


def _first_difference(found: Any, expected: Any, path: str = "") -> str:
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in sorted(set(found) | set(expected)):
            where = f"{path}.{key}" if path else key
            if told := _first_difference(found.get(key, "absent"), expected.get(key, "absent"), where):
                return told
        return ""
    return "" if found == expected else f"{path} is {found!r}, expected {expected!r}"
