import pandas as pd
import pytest
import torch
from small_experiment import inside_small_repository

from btsee_lib.errors import ArtefactError
from btsee_lib.store import own_visits, results
from btsee_lib.trees import of_scheme

BEST = {"independent": {1: 2, 2: 1}, "boosted": {1: 2, 2: 0.5}}  # times the usual visits; branch 3 has no curve


@pytest.fixture(scope="module")
def trained(repository, small_backbone, tmp_path_factory):
    """A small repository, its usual branches, and those after visits of their own."""
    root = tmp_path_factory.mktemp("own") / "small"
    with inside_small_repository(root, repository, small_backbone) as patch:
        usual = results.params("branches").epochs
        rows = [
            {"training": scheme, "branch": branch, "epochs": share * usual, "valid_accuracy": 0.5}
            for scheme, shares in BEST.items()
            for branch, share in shares.items()
        ]
        with pytest.raises(ArtefactError, match="dvc repro boosted_branches"):
            own_visits.load_own_visits()  # there are no studies
        for name in ("make_studies", "load_studies"):
            patch.setattr(own_visits, name, lambda: {"learning_curves": pd.DataFrame(rows)})
        with pytest.raises(ArtefactError, match="dvc repro boosted_branches"):
            own_visits.load_own_visits()
        own = own_visits.make_own_visits()
        again = own_visits.load_own_visits()
        return results.make_trees(), own, again


def test_they_are_the_trees_of_all_seeds_and_both_schemes_and_are_kept(trained):
    usual, own, again = trained
    assert [(each.scheme, each.seed) for each in own] == [(each.scheme, each.seed) for each in usual]
    for one, other in zip(own, again, strict=True):
        assert torch.equal(one.logits["test"], other.logits["test"])


def test_a_branch_whose_own_visits_are_the_usual_ones_is_the_usual_branch_and_another_is_not(trained):
    usual, own, _ = (of_scheme(each, "independent")[0].logits["valid"] for each in trained)
    assert [torch.equal(one, other) for one, other in zip(usual, own, strict=True)] == [False, True, True]
