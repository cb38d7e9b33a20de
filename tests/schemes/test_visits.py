import torch

from btsee_lib.schemes import SCHEMES
from btsee_lib.schemes.scheme import Known
from btsee_lib.schemes.visits import OwnVisits

SHARES = (2.0, 0.25, 1.0)


def known_behind(branches):
    return Known(torch.tensor([True, False, True]), torch.zeros(branches, 3))


def test_each_branch_makes_its_part_of_the_visits_on_the_samples_that_the_scheme_chooses():
    for name in ("independent", "boosted", "warm start"):
        scheme = SCHEMES[name]
        own = OwnVisits(scheme, SHARES)
        assert (own.sequential, own.folds, own.head) == (scheme.sequential, scheme.folds, scheme.head)
        for number, share in enumerate(SHARES):
            known = known_behind(number)
            for (mine, weights), (usual, expected) in zip(own.phases(known), scheme.phases(known), strict=True):
                assert mine == share * usual
                assert torch.equal(weights, expected)
