"""The command line ``python -m btsee_lib.pipeline``."""

import subprocess
import sys

import pytest

from btsee_lib.errors import TrainingError
from btsee_lib.pipeline import __main__ as command_line
from btsee_lib.pipeline import making, verification

HEAVY = ("torch", "pandas", "matplotlib", "sklearn", "papermill")


def test_the_command_line_starts_without_what_only_some_actions_need():
    """DVC starts it once a stage: torch and what comes with it would take longer than most stages do."""
    code = f"import sys, btsee_lib.pipeline.__main__; print(*set({HEAVY}) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_copy_is_verified_by_its_name(monkeypatch):
    verified = []
    monkeypatch.setattr(verification, "verify", verified.append)
    monkeypatch.setattr(sys, "argv", ["pipeline", "verify", "artifacts/verify"])
    command_line.main()
    assert verified == ["artifacts/verify"]


def test_a_training_without_numbers_ends_in_its_sentence(monkeypatch):
    def diverge():
        raise TrainingError("the losses are no numbers any more: lower backbone.learning_rate")

    monkeypatch.setattr(making, "make_backbone", diverge)
    monkeypatch.setattr(sys, "argv", ["pipeline", "backbone"])
    with pytest.raises(SystemExit, match="error: the losses are no numbers any more: lower"):
        command_line.main()


def test_a_name_that_an_action_does_not_take_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["pipeline", "figures", "fronts"])
    with pytest.raises(SystemExit):
        command_line.main()
    assert "figures takes no name, such as fronts" in capsys.readouterr().err
