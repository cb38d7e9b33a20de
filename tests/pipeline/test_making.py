import re

import pytest
import yaml
from small_experiment import small_repository

from btsee_lib.pipeline import making
from btsee_lib.store import artefacts, backbone_artefact, own_visits, results
from btsee_lib.store.tree_artefact import TreeArtefact


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
    for module, folder in ((results, "cascades"), (own_visits, "own_visits")):
        trees = [TreeArtefact(f"{folder}/boosted_seed_{seed}", {}, "boosted", seed) for seed in (0, 1)]
        monkeypatch.setattr(module, "tree_artefacts", lambda trees=trees: trees)
    making.keep_in_git()
    (deleted,) = re.findall(r"rm -rf \$\(addprefix .*/measured/,(.*)\)", (repository / "Makefile").read_text())
    assert deleted.split() == ["backbone", "static_backbone", "studies", "cascades", "own_visits"]
    assert {name.split("/")[0] for name in kept} == set(deleted.split())
    assert {"cascades/boosted_seed_1", "own_visits/boosted_seed_1"} < set(kept)
