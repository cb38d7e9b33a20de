"""Cases: calls whose answers are known. Each check ends with one on the data of its notebook.

The small ones stand in ``cases.yaml``, made so that each typical mistake answers otherwise. One sentence tells
the first case that a function fails.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from torch import Tensor

UNWRITTEN = "is not written yet: put your code in place of the three dots and run both cells again"
FEW = 16  # so many numbers fit into a sentence


class Case(NamedTuple):
    """One call: ``given`` names it, ``why`` says what a wrong answer misses; ``wanted`` is None or numbers."""

    given: str
    arguments: tuple
    wanted: Any
    why: str


@cache
def small_cases(exercise: str) -> list[Case]:
    """Read the made-up cases of an exercise, lists among their arguments as tensors."""
    cases = yaml.safe_load(Path(__file__).with_name("cases.yaml").read_text())[exercise]
    return [
        Case(given, tuple(_tensor(each) if isinstance(each, list) else each for each in arguments), *rest)
        for given, arguments, *rest in cases
    ]


def _tensor(values: list) -> Tensor:
    return torch.tensor(values) if values else torch.empty(0, dtype=torch.int64)  # what can be an index


def check(function: Callable, exercise: str, real: list[Case], name: str | None = None) -> None:
    """Print one sentence: what is wrong with a function, or that all cases are right.

    Parameters
    ----------
    function : what a reader wrote, or what stands around it, called with the arguments of each case.
    exercise : its name in ``cases.yaml``.
    real : the cases of the notebook's data.
    name : of what the reader wrote, if ``function`` stands around it.
    """
    print(f"{name or function.__name__} {verdict(function, [*small_cases(exercise), *real])}.")


def verdict(function: Callable, cases: list[Case]) -> str:
    """Say what is wrong with a function, the first case that it fails, or that all cases are right."""
    for number, (name, arguments, wanted, why) in enumerate(cases):
        given = name + _shown_arguments(arguments)
        # Copies, so that code that writes into its arguments spoils nothing in the notebook.
        copies = [each.clone() if isinstance(each, Tensor) else each for each in arguments]
        try:
            found = function(*copies)
        except NotImplementedError:
            return UNWRITTEN
        except Exception as problem:
            return f"is wrong: {given} yours stops with {type(problem).__name__}, {problem}"
        if number == 0 and (found is None or found is ...):
            return UNWRITTEN
        if not _same(found, wanted):
            return f"is wrong: {given} {_compared(found, wanted)}: {why}"
    return f"is right in all {len(cases)} cases"


def _same(found: Any, wanted: Any) -> bool:
    if wanted is None:
        return found is None
    numbers, expected = _numbers(found), _numbers(wanted)
    if numbers is None or numbers.shape != expected.shape:
        return False
    # What is worked out in float32, and in points, is off by more than the last digit of float64.
    return torch.allclose(numbers, expected, rtol=1e-5, atol=1e-4, equal_nan=True)


def _compared(found: Any, wanted: Any) -> str:
    numbers, expected = _numbers(found), _numbers(wanted)
    if (
        numbers is not None
        and expected is not None
        and numbers.shape == expected.shape
        and numbers.numel() > FEW
    ):
        wrong = int((~torch.isclose(numbers, expected, equal_nan=True)).sum())
        return f"yours differs at {wrong:,} of {numbers.numel():,} places"
    return f"yours returns {_shown(found)}, wanted {_shown(wanted)}"


def _numbers(value: Any) -> Tensor | None:
    """Numbers in whatever they came (a number, a list, several tensors) as one tensor, None for all else."""
    try:
        if isinstance(value, tuple | list) and value:
            return torch.stack([torch.as_tensor(each).double() for each in value])
        return torch.as_tensor(value).double()
    except (TypeError, ValueError, RuntimeError):
        return None


def _shown(value: Any) -> str:
    numbers = _numbers(value)
    if numbers is None:
        return str(value)[:80]
    if numbers.numel() > FEW:
        return f"{tuple(numbers.shape)} numbers"
    return _digits(numbers.tolist())


def _digits(values: float | list) -> str:
    return f"[{', '.join(map(_digits, values))}]" if isinstance(values, list) else f"{values:.4g}"


def _shown_arguments(arguments: tuple) -> str:
    """Show what a reader can call the function with again, where that is short."""
    numbers = [None if isinstance(each, str) else _numbers(each) for each in arguments]
    short = all(each is not None and each.numel() <= FEW for each in numbers)
    return f" ({', '.join(_digits(each.tolist()) for each in numbers)})" if short else ""
