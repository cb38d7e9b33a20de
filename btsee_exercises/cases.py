"""Cases: calls whose answers are known. Each check ends with one on the data of its notebook.

The small ones stand in ``cases.yaml``, made so that each typical mistake answers otherwise. One sentence tells
the first case that a function fails.
"""

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from textwrap import shorten
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
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
    """Read the made-up cases of an exercise, lists among their arguments as tensors, mappings as tables."""
    cases = yaml.safe_load(Path(__file__).with_name("cases.yaml").read_text())[exercise]
    return [Case(given, tuple(map(_argument, arguments)), *rest) for given, arguments, *rest in cases]


def _argument(value: Any) -> Any:
    if isinstance(value, dict):
        return pd.DataFrame(value).set_index("index")
    if value == []:
        return torch.empty(0, dtype=torch.int64)  # what can be an index
    return torch.tensor(value) if isinstance(value, list) else value


def check(
    function: Callable,
    exercise: str,
    real: list[Case],
    call: Callable | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Print one sentence: what is wrong with a function, or that all cases are right.

    Parameters
    ----------
    function : what a reader wrote.
    exercise : its name in ``cases.yaml``.
    real : the cases of the notebook's data.
    call : what stands around the function, called with the arguments of each case in its place.
    dtype : of the tensors that are wanted, if one is asked for.
    """
    if not callable(function):
        print(f"{_shown(function)} is no function: give the check the name of yours, without brackets.")
        return
    name = getattr(function, "__name__", type(function).__name__)
    print(f"{name} {verdict(call or function, [*small_cases(exercise), *real], function, dtype)}.")


def verdict(
    function: Callable, cases: list[Case], written: Callable | None = None, dtype: torch.dtype | None = None
) -> str:
    """Say what is wrong with a function, the first case that it fails, or that all cases are right.

    Parameters
    ----------
    written : what a reader wrote, if that is known: only then is a stub told from a missing return.
    dtype : of the tensors that are wanted, if one is asked for.
    """
    for name, arguments, wanted, why in cases:
        yours = f"is wrong: {name}{_shown_arguments(arguments)} yours"
        # Copies, so that code that writes into its arguments spoils nothing in the notebook.
        copies = [each.clone() if isinstance(each, Tensor) else deepcopy(each) for each in arguments]
        try:
            found = function(*copies)
        except Exception as problem:
            if isinstance(problem, NotImplementedError) and not problem.args:  # those of PyTorch have some
                return UNWRITTEN
            return f"{yours} stops with {shorten(f'{type(problem).__name__}, {problem}', 200).rstrip('.,')}"
        if found is ... or (found is None and wanted is not None and (written is None or _is_stub(written))):
            return UNWRITTEN
        mistake = _mistake(found, wanted, why) or _of_type(found, dtype) or _changed(copies, arguments)
        if mistake:
            return f"{yours} {mistake}"
    return f"is right in all {len(cases)} cases"


def _is_stub(function: Callable) -> bool:
    """Tell whether a function is as short as one without a statement."""
    code = getattr(function, "__code__", None)
    return code is not None and len(code.co_code) == len((lambda: None).__code__.co_code)


def _mistake(found: Any, wanted: Any, why: str) -> str | None:
    if found is None:
        return None if wanted is None else "returns nothing: a return seems to be missing"
    numbers, expected = _numbers(found), _numbers(wanted)
    if numbers is not None and expected is not None and numbers.shape == expected.shape:
        # What is worked out in float32, and in points, is off by more than the last digit of float64.
        wrong = int((~torch.isclose(numbers, expected, rtol=1e-5, atol=1e-4, equal_nan=True)).sum())
        if not wrong:
            return None
        if numbers.numel() > FEW:
            return f"differs at {wrong:,} of {numbers.numel():,} places: {why}"
    return f"returns {_shown(found)}, wanted {_shown(wanted)}: {why}"


def _of_type(found: Any, dtype: torch.dtype | None) -> str | None:
    parts = found if isinstance(found, tuple | list) else [found]
    kinds = {str(getattr(each, "dtype", type(each).__name__)) for each in parts}
    if dtype is None or kinds == {str(dtype)}:
        return None
    return f"returns values of type {', '.join(sorted(kinds))}, wanted a tensor of type {dtype}"


def _changed(copies: list, originals: tuple) -> str | None:
    for number, (now, before) in enumerate(zip(copies, originals, strict=True), start=1):
        changed = not now.equals(before) if isinstance(before, pd.DataFrame) else _mistake(now, before, "")
        if changed and not isinstance(before, str):
            return f"changes its argument {number}: work on a copy"
    return None


def _numbers(value: Any) -> Tensor | None:
    """Numbers in whatever they came (a number, a list, several tensors) as one tensor, None for all else."""
    try:
        if isinstance(value, tuple | list) and value:
            return torch.stack([torch.as_tensor(each).double() for each in value])
        return torch.as_tensor(value).double()
    except (TypeError, ValueError, RuntimeError):
        return None


def _shown(value: Any) -> str:
    if isinstance(value, pd.DataFrame) and value.size <= FEW:
        return f"pd.DataFrame({value.to_dict('list')}, index={value.index.tolist()})"
    numbers = _numbers(value)
    if numbers is None:
        return shorten(str(value), 80)
    return _digits(value) if numbers.numel() <= FEW else f"{tuple(numbers.shape)} numbers"


def _digits(value: Any) -> str:
    plain = value if isinstance(value, tuple | list) else torch.as_tensor(value).tolist()
    if isinstance(plain, tuple | list):
        return f"[{', '.join(map(_digits, plain))}]"
    return f"{plain:.4g}" if isinstance(plain, float) else str(plain)


def _shown_arguments(arguments: tuple) -> str:
    """Show what a reader can call the function with again, where that is short."""
    short = all(not isinstance(each, str) and 0 < np.asarray(each).size <= FEW for each in arguments)
    return f" ({', '.join(map(_shown, arguments))})" if short else ""
