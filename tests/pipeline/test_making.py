import re

import pytest
import yaml
from small_experiment import small_repository

from btsee_lib.pipeline import making
from btsee_lib.store import artefacts, backbone_artefact


def test_where_several_processes_are_asked_for_they_are_started(repository, tmp_path, monkeypatch):
    root = small_repository(tmp_path / "small", repository)
    parameters = yaml.safe_load((root / "params.yaml").read_text())
    parameters["compute"]["processes"] = 2
    (root / "params.yaml").write_text(yaml.safe_dump(parameters))
    monkeypatch.chdir(root)

    def launch(processes, action):
        raise InterruptedError(f"{processes} processes for the {action}")

    monkeypatch.setattr(backbone_artefact, "launch", launch)
    with pytest.raises(InterruptedError, match="2 processes for the backbone"):
        making.make_artefacts()


def test_what_is_kept_in_git_is_what_a_run_from_scratch_deletes(repository, monkeypatch):
    kept = []
    monkeypatch.setattr(artefacts, "keep", kept.append)
    making.keep_in_git()
    (deleted,) = re.findall(r"rm -rf \$\(addprefix .*/measured/,(.*)\)", (repository / "Makefile").read_text())
    assert kept == deleted.split() == ["backbone", "static_backbone", "studies"]
