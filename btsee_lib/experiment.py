"""Where an experiment keeps what it reads and makes.

The *main* experiment is that of ``params.yaml`` at the repository's root. A *profile* is another one over the
same notebooks: its home is ``reports/PROFILE``, with parameters and a ``dvc.yaml`` of its own, and its
artefacts lie apart. Which experiment is meant follows from the working directory alone, so that a published
notebook, opened where it lies, loads the results of the experiment that it shows.
"""

from dataclasses import dataclass
from pathlib import Path

PICTURES = "pictures.tar.xz"  # put into data/NAME, it is read in place of a download
RECORDING = "BTSEE_RECORD"  # environment variable of the pipeline: what a run makes is to be recorded


@dataclass(frozen=True)
class Experiment:
    """The folders of an experiment.

    ``home`` holds ``dvc.yaml`` and ``params.yaml``, ``root`` the notebooks and ``data/``; ``profile`` is the
    profile's name, None for an experiment that stands on its own.
    """

    home: Path
    root: Path
    profile: str | None

    @property
    def artifacts(self) -> Path:
        """Where artefacts lie: DVC's, not in git."""
        return self.root / "artifacts" / (self.profile or "")

    @property
    def reports(self) -> Path:
        """Where results are published."""
        return self.home if self.profile else self.home / "reports"

    @property
    def parameters(self) -> Path:
        """The file of parameters."""
        return self.home / "params.yaml"


def current_experiment(start: Path | None = None) -> Experiment:
    """Return the experiment that a folder belongs to, by default the working directory.

    Its home is the nearest folder, from there upwards, that holds ``dvc.yaml``.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    """
    start = Path(start or Path.cwd()).resolve()
    for home in (start, *start.parents):
        if (home / "dvc.yaml").is_file():
            root = home.parents[1]
            if home.parent.name == "reports" and (root / "dvc.yaml").is_file():
                return Experiment(home, root, home.name)
            return Experiment(home, home, None)
    raise FileNotFoundError(f"no dvc.yaml in {start} or above it: start inside the repository")


def repository_root(start: Path | None = None) -> Path:
    """Return the root of the repository that a folder, by default the working directory, lies in."""
    return current_experiment(start).root


def input_path(name: str, path: str | None) -> Path | None:
    """Return the folder or archive that a data set is read from, None for the published download.

    Parameters
    ----------
    name : of the data set.
    path : ``data.path``, which counts from the repository's root. Without one, an archive ``pictures.tar.xz``
        in the folder of the data set is taken, if there is one.
    """
    root = repository_root()
    if path is not None:
        return root / Path(path).expanduser()
    archive = root / "data" / name / PICTURES
    return archive if archive.is_file() else None
