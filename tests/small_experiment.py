"""An experiment of a few hundred images: the changes to ``params.yaml``, and a repository that holds it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

SMALL = {
    "data": {"limit": 300},
    "backbone": {"width": 8, "epochs": 2, "reduced_epochs": 1, "batch_size": 50},
    "features": {"batch_size": 150},
    "branches": {"channels": [4, 4, 4], "epochs": 2, "batch_size": 100},
    "evaluation": {"resamples": 20},
    "boosting": {"seeds": [0], "margins": [[-0.1, 0.2]] * 3, "min_support": 5, "min_survivors": 20},
}


def small_repository(root: Path, repository: Path, processes: int = 1) -> Path:
    """Fill a folder with what makes it a repository of the small experiment, in which nothing has been made."""
    root.mkdir(exist_ok=True)
    (root / "dvc.yaml").touch()
    (root / "data").symlink_to(repository / "data")
    content = yaml.safe_load((repository / "params.yaml").read_text())
    content = {name: content[name] | SMALL.get(name, {}) for name in content}
    content["compute"]["processes"] = processes
    (root / "params.yaml").write_text(yaml.safe_dump(content))
    return root


def write_artefacts(root: Path, made: dict[str, bytes]) -> Path:
    """Lay what was made in another such repository into this one: the content of each file by its path."""
    for name, content in made.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


@contextmanager
def inside_small_repository(
    root: Path, repository: Path, made: dict[str, bytes] | None = None
) -> Iterator[pytest.MonkeyPatch]:
    """Work in such a repository meanwhile, in the fixture of a module; what is patched ends with it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(write_artefacts(small_repository(root, repository), made or {}))
        yield patch
