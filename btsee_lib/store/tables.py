"""Tables as files: written whole, and read so that names stay text."""

from pathlib import Path

import pandas as pd

from btsee_lib.errors import ArtefactError

# Columns of names and of digests.
TEXTS = {"class", "label", "name", "first_label", "first_name", "made_from", "right"}


def write_whole(path: Path, text: str) -> None:
    """Write a file under another name first, so that it is whole whenever it is read, or the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def read_table(path: Path) -> pd.DataFrame:
    """Read a table; names of classes and pictures stay text, be they ``None``, ``NA`` or ``001``.

    Raises
    ------
    ArtefactError
        If the file is empty: a table without columns has one line.
    """
    try:
        columns = pd.read_csv(path, nrows=0).columns
    except pd.errors.EmptyDataError:
        if path.stat().st_size:
            return pd.DataFrame()
        raise ArtefactError(f"{path} is empty: take it back from git, or delete it and make it again") from None
    texts = TEXTS | ({"predicted"} if "label" in columns else set())
    return pd.read_csv(path, dtype=dict.fromkeys(texts, str), keep_default_na=False, na_values=[""])


def read_tables(folder: Path) -> dict[str, pd.DataFrame]:
    """Read all tables of a folder, by their names."""
    return {path.stem: read_table(path) for path in sorted(folder.glob("*.csv"))}
