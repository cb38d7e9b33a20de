"""Ways to train the branches of a cascade: one object a scheme, one table of them."""

from btsee_lib.schemes.objectives import (
    Additive,
    AdditiveBoosted,
    Distilled,
    DistilledBoosted,
    Ensemble,
    EnsembleBoosted,
)
from btsee_lib.schemes.scheme import PAPER_SCHEMES, Known, Scheme
from btsee_lib.schemes.weighting import CrossFitted, Mixture, SoftSurvivors, WarmStart

SCHEMES: dict[str, Scheme] = {
    **PAPER_SCHEMES,
    "warm start": WarmStart(),
    "mixture": Mixture(share=0.5),
    "cross-fitted": CrossFitted(),
    "soft survivors": SoftSurvivors(steepness=10),
    "distilled": Distilled(),
    "distilled, boosted": DistilledBoosted(),
    "additive": Additive(),
    "additive, boosted": AdditiveBoosted(),
    "ensemble": Ensemble(),
    "ensemble, boosted": EnsembleBoosted(),
}

__all__ = ["PAPER_SCHEMES", "SCHEMES", "Known", "Scheme"]
