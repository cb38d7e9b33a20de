"""``make`` in places that are not a clone in a plain folder."""

import os
import shutil
import subprocess
import sys

import pytest

# Stands for Python: makes an environment of copies of itself, and tells how it was called.
STUB = """#!/bin/sh
echo "$(basename "$0") $*" >> "$CALLS"
[ "$(basename "$0")" != pytest ] || echo "$MATPLOTLIBRC $MPLBACKEND $IPYTHONDIR" >> "$CALLS"
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
        calls = (tmp_path / "calls").read_text().splitlines() if (tmp_path / "calls").exists() else []
        return folder, done, calls

    return make


def test_in_a_folder_with_spaces_the_environment_lies_inside_and_is_used(made, tmp_path):
    folder, done, calls = made("repro")
    assert done.returncode == 0, done.stderr
    assert (folder / ".venv" / ".ready").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a folder of mine", "a python", "calls"]
    assert calls[-1] == "dvc repro"
    assert done.stdout.splitlines()[-1].startswith("Results: reports/")


@pytest.mark.parametrize("name", ["../notebooks", "backbone", "cifar-10 notebooks", "%"])
@pytest.mark.parametrize("target", ["clean", "repro", "best"])
def test_a_profile_that_is_not_there_ends_make_before_it_does_anything(made, tmp_path, target, name):
    folder = tmp_path / "a folder of mine"
    for kept in ("artifacts/backbone", "notebooks", "profiles"):
        (folder / kept).mkdir(parents=True)
    (folder / "profiles" / "cifar-10.yaml").touch()
    _, done, calls = made(target, f"PROFILE={name}")
    assert done.returncode != 0
    assert f"no profile '{name}' in profiles/: use one of cifar-10" in done.stderr
    assert calls == []
    assert (folder / "artifacts" / "backbone").is_dir()
    assert (folder / "notebooks").is_dir()


def test_what_a_profile_has_made_is_removed_and_nothing_of_the_main_experiment(made, tmp_path):
    folder = tmp_path / "a folder of mine"
    for name in ("cifar-10", "backbone"):  # the second is refused as a profile, so it has no home
        (folder / "artifacts" / name).mkdir(parents=True)
        (folder / "profiles").mkdir(exist_ok=True)
        (folder / "profiles" / f"{name}.yaml").touch()
    (folder / "reports" / "cifar-10").mkdir(parents=True)
    (folder / "reports" / "cifar-10" / "dvc.yaml").touch()
    for name in ("cifar-10", "backbone"):
        assert made("clean", f"PROFILE={name}")[1].returncode == 0
    assert [path.name for path in (folder / "artifacts").iterdir()] == ["backbone"]


def test_without_a_history_dvc_is_told_so(made):
    folder, _, calls = made("setup")
    assert "dvc config --local core.no_scm true" in calls
    (folder / ".git").mkdir()
    before = len(calls)
    _, _, calls = made("setup")
    assert not [call for call in calls[before:] if call.startswith("dvc")]


@pytest.mark.parametrize("target", ["test", "pipeline", "verify"])
def test_what_copies_the_repository_says_first_that_it_needs_a_clone(made, target):
    _, done, calls = made(target)
    assert done.returncode != 0
    assert "it needs a clone, made by git" in done.stdout
    assert calls == []


def test_executed_notebooks_are_compared_without_settings_of_a_users_own(made):
    folder, done, calls = made("notebooks", "MATPLOTLIBRC=mine", "MPLBACKEND=agg")
    assert done.returncode == 0, done.stderr
    assert calls[-2].startswith("pytest --nbval ")
    assert calls[-1] == f"/dev/null module://matplotlib_inline.backend_inline {folder}/.venv/ipython"


def test_an_empty_file_of_settings_is_matplotlibs_own():
    code = (
        "import matplotlib as m; default = m.rcParamsDefault\n"
        "print([name for name in default if m.rcParams[name] != default[name] and name != 'backend'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"MATPLOTLIBRC": "/dev/null"}, capture_output=True, text=True
    )
    assert done.stdout == "[]\n", done.stderr
