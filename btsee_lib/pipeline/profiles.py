"""Named sets of parameters: what ``profiles/NAME.yaml`` changes in ``params.yaml``, and nothing else.

A profile is an experiment over the one pipeline, not a second one. It has the form of
``params.yaml`` and holds only what differs.
"""

import json
from typing import Any

from btsee_lib.config import ParameterError, checked_section, read_yaml, repository_root

Sections = dict[str, dict[str, Any]]


def read_profile(name: str) -> tuple[Sections, Sections]:
    """Read a profile: its changes, and the parameters that they lead to.

    Raises
    ------
    ParameterError
        If there is no such profile, or the parameters that it leads to cannot be used.
    """
    folder = repository_root() / "profiles"
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        raise ParameterError(f"no profile '{name}' in profiles/: use one of {', '.join(known)}")
    changes = read_yaml(folder / f"{name}.yaml")
    return changes, merge(read_yaml(repository_root() / "params.yaml"), changes, f"profiles/{name}.yaml")


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
    for section in merged:
        checked_section(section, merged, origin)
    return merged


def overrides(changes: Sections) -> list[str]:
    """Write changes as ``section.key=value``, the form of ``dvc exp run --set-param``, without blanks."""
    return [
        f"{section}.{key}={json.dumps(value, separators=(',', ':'))}"
        for section, values in changes.items()
        for key, value in values.items()
    ]
