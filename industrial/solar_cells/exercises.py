"""Checks of the exercises of notebook 07: each says in one sentence what is wrong, or that nothing is."""

from collections.abc import Callable

import torch
from torch import Tensor

from btsee_exercises.cases import Case, verdict


def check_cheapest_threshold(
    function: Callable, defect: Tensor, labels: Tensor, thresholds: Tensor, miss_cost: float
) -> None:
    """Check ``(defect, labels, thresholds, miss_cost)``: the threshold at which mistakes cost least.

    Parameters
    ----------
    defect : probability of a defect, float (N,); a cell is called defective where it reaches the threshold.
    labels : int64 (N,), 1 is defective.
    thresholds : float (T,), to choose from; the lowest of those that cost as little is wanted.
    """
    four = torch.tensor([0.6, 0.7, 0.4, 0.9]), torch.tensor([0, 0, 1, 1]), torch.tensor([0.3, 0.8])
    two = torch.tensor([0.5, 0.3]), torch.tensor([1, 0]), torch.tensor([0.3, 0.5])
    apart = torch.tensor([0.2, 0.9]), torch.tensor([0, 1]), torch.tensor([0.8, 0.3, 0.5])
    real = defect, labels, thresholds, miss_cost
    costs = [float(_cost(defect >= each, labels, miss_cost)) for each in thresholds]
    wanted = min(zip(costs, thresholds.tolist(), strict=True))[1]
    cases = [
        Case("where a miss costs three alarms", (*four, 3), 0.3, "two alarms cost less than one miss"),
        Case("where a miss costs one alarm", (*four, 1), 0.8, "one miss costs less than two alarms"),
        Case("at the threshold itself", (*two, 1), 0.5, "who reaches it is called defective"),
        Case("where all cost the same", (*apart, 3), 0.3, "the lowest of them is asked for"),
        Case("on valid", real, wanted, "this one costs least"),
    ]
    _tell(function, cases)


def _cost(called: Tensor, labels: Tensor, miss_cost: float) -> Tensor:
    return miss_cost * (~called & (labels == 1)).sum() + (called & (labels == 0)).sum()


def check_split_by_module(function: Callable, module: Tensor, folds: int) -> None:
    """Check ``(module, folds)``: the fold of each cell, int64 (N,), so that no module is in two of them.

    Parameters
    ----------
    module : of each cell, int64 (N,).

    Any way of dealing will do that gives each fold as many modules as the others, or one more or less.
    """

    def judged(of_cells: Tensor, number: int) -> list[int] | None:
        found = function(of_cells, number)
        if found is None or found is ...:
            return None
        found = torch.as_tensor(found)
        if found.shape != of_cells.shape:
            raise ValueError(f"it returns {found.numel()} folds for {len(of_cells)} cells")
        pairs = torch.stack([of_cells, found.to(of_cells)]).unique(dim=1)
        divided = int((pairs[0].unique(return_counts=True)[1] > 1).sum())
        modules = [int((pairs[1] == fold).sum()) for fold in range(number)]
        return [divided, max(0, max(modules) - min(modules) - 1), len(pairs[0]) - sum(modules)]

    why = (
        "the first number counts modules in two folds, the second by how many too many modules folds differ, "
        "the third modules in a fold that is not asked for"
    )
    small = {
        "for modules in order": ([0, 0, 0, 0, 1, 1], 2),
        "for modules in any order": ([2, 0, 1, 2, 0, 1], 3),
        "for numbers with gaps": ([3, 3, 6, 6, 9, 9], 3),
        "for more modules than folds": ([0, 1, 2, 3, 4], 2),
    }
    cases = [Case(name, (torch.tensor(each), number), [0, 0, 0], why) for name, (each, number) in small.items()]
    _tell(judged, [*cases, Case("for the solar cells", (module, folds), [0, 0, 0], why)], function.__name__)


def check_share_of_draws(function: Callable, missed: Tensor, module: Tensor, draws: Tensor) -> None:
    """Check ``(missed, module, draws)``: the share of missed defects in each draw of modules, (R,).

    Parameters
    ----------
    missed : of each defective cell, bool (N,); module : of the same cells, int64 (N,).
    draws : int64 (R, D), D modules a draw, of which some come several times.
    """
    one, each = torch.tensor([True, False, False, False]), torch.tensor([0, 0, 1, 1])
    two = torch.tensor([True, False])
    in_turn = torch.tensor([0, 1])
    again = [1.0, 2 / 3]
    wanted = torch.stack([torch.cat([missed[module == m] for m in drawn]).double().mean() for drawn in draws])
    cases = [
        Case("for one draw", (one, each, torch.tensor([[0, 1]])), [0.25], "one defect of four is missed"),
        Case(
            "for a large module",
            (one, torch.tensor([0, 1, 1, 1]), torch.tensor([[0, 1]])),
            [0.25],
            "divide by cells: a large module weighs more",
        ),
        Case(
            "for a module drawn twice",
            (two, in_turn, torch.tensor([[0, 0, 0], [0, 0, 1]])),
            again,
            "its cells count twice",
        ),
        Case("for the backbone", (missed, module, draws), wanted, "pool the cells of the drawn modules"),
    ]
    _tell(function, cases)


def _tell(function: Callable, cases: list[Case], name: str | None = None) -> None:
    print(f"{name or function.__name__} {verdict(function, cases)}.")
