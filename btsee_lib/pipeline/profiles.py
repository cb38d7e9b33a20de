"""Profiles: other experiments over the same notebooks, each a few changes to ``params.yaml``.

``profiles/NAME.yaml`` has the form of ``params.yaml`` and holds only what differs. ``set_up_profile`` writes
the home of the experiment, ``reports/NAME``: the parameters that the changes lead to, and a ``dvc.yaml`` that
is the repository's own with the paths of this experiment. ``dvc repro`` in that folder then runs it, skips
what is done and goes on where it was interrupted, and ``dvc repro`` in the root never starts it.
"""

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from btsee_lib.config import check_together, checked_section, read_yaml
from btsee_lib.errors import ParameterError
from btsee_lib.experiment import repository_root

Sections = dict[str, dict[str, Any]]
HEADER = "# Written by 'make repro PROFILE={name}' from {origin} and profiles/{name}.yaml: change those.\n"
TAKEN = ("notebooks", "tables", "figures", "model", "measured", "experiments")  # folders of reports/
OTHERS = "reports/experiments"  # the claims of profiles, which the main experiment sets beside its own
MAIN_ONLY = {"paper_scale": "08_paper_scale"}  # stage and notebook that are about the machine, once for all


def read_profile(name: str) -> Sections:
    """Read the parameters that a profile leads to, checked.

    Raises
    ------
    ParameterError
        If there is no such profile, or its parameters cannot be used.
    """
    folder = repository_root() / "profiles"
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name in TAKEN:
        raise ParameterError(
            f"profiles/{name}.yaml: reports/{name} is the main experiment's: take another name"
        )
    if name not in known:
        raise ParameterError(f"no profile '{name}' in profiles/: use one of {', '.join(known)}")
    changes = read_yaml(folder / f"{name}.yaml")
    return merge(read_yaml(repository_root() / "params.yaml"), changes, f"profiles/{name}.yaml")


def merge(parameters: Sections, changes: Sections, origin: str) -> Sections:
    """Return the parameters with the changes made; every section of the result is checked.

    Parameters
    ----------
    origin : the file that the changes are from, for the error message.
    """
    unknown = sorted(set(changes) - set(parameters))
    if unknown:
        raise ParameterError(f"{origin}: unknown section '{unknown[0]}': use one of {', '.join(parameters)}")
    merged = dict(parameters)
    for name, values in changes.items():
        merged[name] = parameters[name] | values if isinstance(values, dict) else values
    check_together({section: checked_section(section, merged, origin) for section in merged}, origin)
    return merged


def set_up_profile(name: str) -> Path:
    """Write ``params.yaml`` and ``dvc.yaml`` of a profile into its home, and return that."""
    root = repository_root()
    home = root / "reports" / name
    parameters = read_profile(name)
    stages = read_yaml(root / "dvc.yaml")["stages"]
    moved = {key: _moved(stage, name) for key, stage in stages.items() if key not in MAIN_ONLY}
    home.mkdir(parents=True, exist_ok=True)
    _write(home / "params.yaml", HEADER.format(name=name, origin="params.yaml"), parameters)
    _write(home / "dvc.yaml", HEADER.format(name=name, origin="dvc.yaml"), {"stages": moved})
    return home


def _write(path: Path, header: str, content: dict) -> None:
    text = header + yaml.safe_dump(content, sort_keys=False, width=110)
    if not path.is_file() or path.read_text() != text:
        path.write_text(text)


def _moved(stage: dict[str, Any], profile: str) -> dict[str, Any]:
    """A stage of the repository's pipeline with the paths of a profile, relative to its home."""

    def move(path: str) -> str:
        first, *rest = PurePosixPath(path).parts
        if first == "artifacts":
            return str(PurePosixPath("../../artifacts", profile, *rest))
        if first == "reports":
            return str(PurePosixPath(*rest))
        return f"../../{path}"

    return stage | {key: _each(stage[key], move) for key in ("deps", "outs", "metrics") if key in stage}


def _each(listed: list, move: Callable[[str], str]) -> list:
    """Apply ``move`` to paths, which may carry options, and leave out those of the main experiment alone."""
    moved = []
    for entry in listed:
        path, options = next(iter(entry.items())) if isinstance(entry, dict) else (entry, None)
        if path != OTHERS and not any(name in path for name in MAIN_ONLY.values()):
            moved.append(move(path) if options is None else {move(path): options})
    return moved
