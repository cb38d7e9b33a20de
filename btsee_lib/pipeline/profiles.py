"""Profiles: other experiments over the same notebooks, each a few changes to ``params.yaml``.

``profiles/NAME.yaml`` has the form of ``params.yaml`` and holds only what differs. ``set_up_profile`` writes
the home of the experiment, ``reports/NAME``: the parameters that the changes lead to, and a ``dvc.yaml`` that
is the repository's own with the paths of this experiment. ``dvc repro`` in that folder then runs it, skips
what is done and goes on where it was interrupted, and ``dvc repro`` in the root never starts it.
"""

from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from btsee_lib.config import check_together, checked_section, read_yaml
from btsee_lib.errors import ParameterError
from btsee_lib.experiment import repository_root

Sections = dict[str, dict[str, Any]]
HEADER = "# Written by 'make repro PROFILE={name}' from {origin} and profiles/{name}.yaml: change those.\n"
# Folders of reports/, and of artifacts/.
TAKEN = set("notebooks solutions tables figures model measured experiments".split())
TAKEN |= set(
    "backbone features cascades own_visits studies static_backbone timings rivals joint best_cascade".split()
)
TAKEN |= set("other_ways fewer_images backbones checkpoints reports scratch verify browser".split())
OTHERS = "reports/experiments"  # the claims of profiles, which the main experiment sets beside its own
# Stages, and their notebooks, that are there once for all experiments.
MAIN_ONLY = {"paper_scale": "08_paper_scale", "other_ways": "09_other_ways"}


def read_profile(name: str) -> Sections:
    """Read the parameters that a profile leads to, checked.

    Raises
    ------
    ParameterError
        If there is no such profile, or its parameters cannot be used.
    """
    root, origin = repository_root(), f"profiles/{name}.yaml"
    known = sorted(path.stem for path in (root / "profiles").glob("*.yaml"))
    if name in TAKEN:
        raise ParameterError(f"{origin}: {name} is a folder of the main experiment: take another name")
    if name not in known:
        raise ParameterError(f"no profile '{name}' in profiles/: use one of {', '.join(known)}")
    return merge(read_yaml(root / "params.yaml"), read_yaml(root / origin), origin)


def merge(parameters: Sections, changes: Sections, origin: str) -> Sections:
    """Return the parameters with the changes made; every section of the result is checked.

    Parameters
    ----------
    origin : the file that the changes are from, for the error message.
    """
    unknown = sorted(map(str, set(changes) - set(parameters)))
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
    (home / "measured").mkdir(parents=True, exist_ok=True)  # DVC depends on it, be it empty
    for file, content in (("params.yaml", parameters), ("dvc.yaml", {"stages": moved})):
        text = yaml.safe_dump(content, sort_keys=False, width=110)
        (home / file).write_text(HEADER.format(name=name, origin=file) + text)
    return home


def _moved(stage: dict[str, Any], profile: str) -> dict[str, Any]:
    """A stage with paths relative to the home of a profile, less those of the main experiment alone."""

    def move(entry: str | dict) -> str | dict:
        if isinstance(entry, dict):  # a path with options
            return {move(path): options for path, options in entry.items()}
        first, *rest = PurePosixPath(entry).parts
        if first == "artifacts":
            return str(PurePosixPath("../../artifacts", profile, *rest))
        return str(PurePosixPath(*rest)) if first == "reports" else f"../../{entry}"

    left_out = (OTHERS, *MAIN_ONLY.values())
    listed = {key: stage[key] for key in ("deps", "outs", "metrics") if key in stage}
    return stage | {
        key: [move(entry) for entry in entries if not any(name in str(entry) for name in left_out)]
        for key, entries in listed.items()
    }
