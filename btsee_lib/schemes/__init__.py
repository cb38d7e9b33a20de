"""Ways to train the branches of a cascade: one object a scheme, one table of them."""

from btsee_lib.schemes.objectives import Additive, Distilled, HalfDistilled, LearntConfidence, ZeroTimeWaste
from btsee_lib.schemes.scheme import PAPER_SCHEMES, Boosted, Known, Scheme
from btsee_lib.schemes.weighting import CrossFitted, Mixture, SoftSurvivors, WarmStart

SCHEMES: dict[str, Scheme] = {
    **PAPER_SCHEMES,
    "warm start": WarmStart(),
    "mixture": Mixture(share=0.5),
    "cross-fitted": CrossFitted(),
    "soft survivors": SoftSurvivors(steepness=10),
    "distilled": Scheme(Distilled),
    "distilled, boosted": Boosted(Distilled),
    "half distilled": Scheme(HalfDistilled),
    "half distilled, boosted": Boosted(HalfDistilled),
    "additive": Scheme(Additive),
    "additive, boosted": Boosted(Additive),
    "zero time waste": Scheme(ZeroTimeWaste),
    "zero time waste, boosted": Boosted(ZeroTimeWaste),
    "learnt confidence": Scheme(LearntConfidence),
}

__all__ = ["PAPER_SCHEMES", "SCHEMES", "Known", "Scheme"]
