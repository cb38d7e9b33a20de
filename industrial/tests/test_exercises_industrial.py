"""Each check lets the right solution pass, and tells each typical wrong one, by a part of its sentence."""

import pytest
import torch

from solar_cells import exercises


def cheapest_threshold(defect, labels, thresholds, miss_cost, reached=torch.ge):
    costs = [
        int(
            miss_cost * (~(called := reached(defect, each)) & (labels == 1)).sum()
            + (called & (labels == 0)).sum()
        )
        for each in thresholds
    ]
    return min(each for each, cost in zip(thresholds, costs, strict=True) if cost == min(costs))


def forgets_the_cost(defect, labels, thresholds, miss_cost):
    return cheapest_threshold(defect, labels, thresholds, 1)


def takes_the_cost_for_that_of_an_alarm(defect, labels, thresholds, miss_cost):
    return cheapest_threshold(defect, labels, thresholds, 1 / miss_cost)


def ignores_the_cost_for_more_finds(defect, labels, thresholds, miss_cost):
    return thresholds.min()


def lets_the_threshold_itself_pass(defect, labels, thresholds, miss_cost):
    return cheapest_threshold(defect, labels, thresholds, miss_cost, torch.gt)


def takes_the_first_of_equals(defect, labels, thresholds, miss_cost):
    costs = [miss_cost * ((defect < each) & (labels == 1)).sum() for each in thresholds]
    costs = [
        cost + ((defect >= each) & (labels == 0)).sum() for cost, each in zip(costs, thresholds, strict=True)
    ]
    return thresholds[int(torch.stack(costs).argmin())]


def split_by_module(module, folds):
    return module.unique(return_inverse=True)[1] % folds


def splits_cells(module, folds):
    return torch.arange(len(module)) % folds


def splits_into_blocks(module, folds):
    return torch.arange(len(module)) * folds // len(module)


def splits_by_number(module, folds):
    return module % folds


def counts_folds_from_one(module, folds):
    return 1 + split_by_module(module, folds)


def splits_modules(module, folds):
    return module.unique() % folds


def share_of_draws(missed, module, draws):
    return torch.stack([torch.cat([missed[module == m] for m in draw]).double().mean() for draw in draws])


def averages_modules(missed, module, draws):
    return (
        torch.stack([missed[module == m].double().mean() for draw in draws for m in draw])
        .view_as(draws)
        .mean(1)
    )


def counts_a_module_once(missed, module, draws):
    return torch.stack([missed[torch.isin(module, draw)].double().mean() for draw in draws])


def counts_missed_cells(missed, module, draws):
    return len(missed) * share_of_draws(missed, module, draws)


DEFECT = torch.tensor([0.1, 0.35, 0.62, 0.8, 0.55, 0.2])
LABELS = torch.tensor([0, 0, 1, 1, 0, 1])
MODULE = torch.arange(44).repeat_interleave(60)
MISSED, OF_MODULE = torch.tensor([True, False, False, True]), torch.tensor([0, 0, 1, 2])
REAL = {
    "cheapest_threshold": (DEFECT, LABELS, torch.tensor([0.15, 0.5, 0.7]), 3),
    "split_by_module": (MODULE, 5),
    "share_of_draws": (MISSED, OF_MODULE, torch.tensor([[0, 0, 2], [1, 2, 2]])),
}


def said(capsys, exercise, function):
    getattr(exercises, f"check_{exercise}")(function, *REAL[exercise])
    return capsys.readouterr().out


@pytest.mark.parametrize("function", [cheapest_threshold, split_by_module, share_of_draws])
def test_a_right_solution_passes(capsys, function):
    assert " is right in all " in said(capsys, function.__name__, function)


@pytest.mark.parametrize("exercise", REAL)
def test_a_stub_is_told_from_a_wrong_answer(capsys, exercise):
    def stub(*_): ...

    assert said(capsys, exercise, stub).startswith("stub is not written yet")


@pytest.mark.parametrize(
    ("exercise", "function", "part"),
    [
        ("cheapest_threshold", forgets_the_cost, "two alarms cost less than one miss"),
        ("cheapest_threshold", takes_the_cost_for_that_of_an_alarm, "two alarms cost less than one miss"),
        ("cheapest_threshold", ignores_the_cost_for_more_finds, "one miss costs less than two alarms"),
        ("cheapest_threshold", lets_the_threshold_itself_pass, "who reaches it is called defective"),
        ("cheapest_threshold", takes_the_first_of_equals, "the lowest of them is asked for"),
        ("split_by_module", splits_cells, "yours returns [2, 0, 0], wanted [0, 0, 0]"),
        ("split_by_module", splits_into_blocks, "the first number counts modules in two folds"),
        ("split_by_module", splits_by_number, "by how many too many modules folds differ"),
        ("split_by_module", counts_folds_from_one, "in a fold that is not asked for"),
        ("split_by_module", splits_modules, "it returns 2 folds for 6 cells"),
        ("share_of_draws", averages_modules, "a large module weighs more"),
        ("share_of_draws", counts_a_module_once, "its cells count twice"),
        ("share_of_draws", counts_missed_cells, "one defect of four is missed"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_typical_mistake_is_told(capsys, exercise, function, part):
    assert part in said(capsys, exercise, function)
