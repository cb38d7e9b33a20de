"""``make`` in places that are not a clone in a plain folder."""

import os
import shutil
import subprocess
import sys

import pytest

# Stands for Python: makes an environment of copies of itself, and tells how it was called.
STUB = """#!/bin/sh
echo "$(basename "$0") $*" >> "$CALLS"
[ "$(basename "$0")" != pytest ] || echo "$MATPLOTLIBRC $IPYTHONDIR" >> "$CALLS"
if [ "$1" = -m ] && [ "$2" = venv ]; then
  mkdir -p "$3/bin"
  for name in python pip dvc pytest; do cp "$0" "$3/bin/$name"; done
fi
"""


@pytest.fixture
def made(repository, tmp_path):
    """Run ``make`` in a folder whose name has spaces; returns what was called."""
    folder = tmp_path / "a folder of mine"
    folder.mkdir()
    for name in ("Makefile", "requirements.txt", "constraints.txt", "pyproject.toml"):
        shutil.copyfile(repository / name, folder / name)
    stub = tmp_path / "a python"
    stub.mkdir()
    (stub / "python3").write_text(STUB)
    (stub / "python3").chmod(0o755)
    path = f"{stub}{os.pathsep}/usr/bin{os.pathsep}/bin"

    def make(*arguments):
        environment = {"PATH": path, "CALLS": str(tmp_path / "calls")}
        done = subprocess.run(["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True)
        calls = (tmp_path / "calls").read_text().splitlines()
        return folder, done, calls

    return make


def test_in_a_folder_with_spaces_the_environment_lies_inside_and_is_used(made, tmp_path):
    folder, done, calls = made("repro")
    assert done.returncode == 0, done.stderr
    assert (folder / ".venv" / ".ready").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a folder of mine", "a python", "calls"]
    assert "dvc repro" in calls
    assert calls[-1] == "python -m btsee_lib.pipeline times"


def test_without_a_history_dvc_is_told_so_and_verify_says_what_it_needs(made):
    folder, _, calls = made("setup")
    assert "dvc config --local core.no_scm true" in calls
    (folder / ".git").mkdir()
    before = len(calls)
    _, _, calls = made("setup")
    assert not [call for call in calls[before:] if call.startswith("dvc")]
    (folder / ".git").rmdir()
    _, done, _ = made("verify")
    assert done.returncode != 0
    assert "it needs a clone, made by git" in done.stdout


def test_executed_notebooks_are_compared_without_settings_of_a_users_own(made):
    folder, done, calls = made("notebooks", "MATPLOTLIBRC=mine")
    assert done.returncode == 0, done.stderr
    assert calls[-2].startswith("pytest --nbval ")
    assert calls[-1] == f"/dev/null {folder}/.venv/ipython"


def test_an_empty_file_of_settings_is_matplotlibs_own():
    code = (
        "import matplotlib as m; default = m.rcParamsDefault\n"
        "print([name for name in default if m.rcParams[name] != default[name] and name != 'backend'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"MATPLOTLIBRC": "/dev/null"}, capture_output=True, text=True
    )
    assert done.stdout == "[]\n", done.stderr
