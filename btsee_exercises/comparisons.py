"""Checks of notebook 09: what a sample weighs, and which of many rivals may be the best."""

from collections.abc import Callable

import torch
from torch import Tensor

from btsee_exercises.cases import Case, check
from btsee_lib.schemes import Known
from btsee_lib.schemes.weighting import SoftSurvivors


def check_soft_weights(function: Callable, excess: Tensor, steepness: float) -> None:
    """Check ``(excess, steepness)``: what soft survivors weigh, float (N,).

    Parameters
    ----------
    excess : float (b - 1, N), as in ``schemes.Known``.
    """
    wanted = SoftSurvivors(steepness).weights(Known(survivors=(excess < 0).all(0), excess=excess))
    none = Case("for no earlier branch", (torch.empty(0, 3), 10), [1, 1, 1], "who passes no branch weighs 1")
    real = Case("for the samples of the figure", (excess, steepness), wanted, "the library weighs them so")
    check(function, "soft_weights", [none, real])


def check_may_be_best(function: Callable, low: Tensor) -> None:
    """Check ``(low)``: the positions of those that no other is certainly ahead of.

    Parameters
    ----------
    low : float (n, n), the lower end of the interval of what a row gains over a column; nan on the diagonal.
    """
    beaten = (low > 0).any(0)  # nan is not
    wanted = torch.arange(len(low))[~beaten]
    check(function, "may_be_best", [Case("for the pairs above", (low,), wanted, "nobody is certainly ahead")])
