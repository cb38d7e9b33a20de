import pandas as pd
import pytest
import torch

from btsee_exercises.cases import Case, check

WHY = "the reason"
REAL = [Case("for the notebook's data", (torch.arange(20),), torch.arange(20) > 2, WHY)]


def told(capsys, function, exercise="survivors", real=()):
    check(function, exercise, list(real))
    (line,) = capsys.readouterr().out.splitlines()
    return line


def does_nothing(*arguments): ...


def does_nothing_and_says_what_for(*arguments):
    """Which images a branch keeps."""
    ...


def returns_dots(*arguments):
    return ...


def refuses(*arguments):
    raise NotImplementedError


@pytest.mark.parametrize("stub", [does_nothing, does_nothing_and_says_what_for, returns_dots, refuses])
def test_a_stub_is_told_that_it_is_not_written_and_nothing_stops(stub, capsys):
    assert told(capsys, stub).startswith(f"{stub.__name__} is not written yet: put your code")


def test_an_error_in_what_was_written_is_a_sentence(capsys):
    def mine(confidence, predicted, thresholds):
        return confidence < thresholds.of(predicted)

    assert told(capsys, mine).startswith(
        "mine is wrong: for one class ([0.9, 0.4], [0, 0], [0.5]) yours stops with "
    )


@pytest.mark.parametrize("problem", [ValueError("two\n\nlines end."), NotImplementedError("two lines end")])
def test_an_error_is_told_on_one_line_with_one_full_stop(problem, capsys):
    def mine(*arguments):
        raise problem

    assert told(capsys, mine).endswith(f"yours stops with {type(problem).__name__}, two lines end.")


def test_a_forgotten_return_is_no_stub(capsys):
    def mine(confidence, predicted, thresholds):
        confidence < thresholds[predicted]  # noqa: B015

    assert told(capsys, mine).endswith("yours returns nothing: a return seems to be missing.")


@pytest.mark.parametrize("value", [3, None, torch.tensor([1, 2])])
def test_what_is_no_function_is_a_sentence(value, capsys):
    assert " is no function: give the check the name of yours, without brackets." in told(capsys, value)


@pytest.mark.parametrize("answer", ["words", [1, 2, 3], {"a": 1}, 5])
def test_an_answer_of_another_kind_is_shown_beside_the_wanted_one(answer, capsys):
    cases = iter([torch.tensor([False, True]), answer])
    line = told(capsys, lambda *arguments: next(cases))
    assert "for two classes ([0.6, 0.6], [1, 0], [0.5, 0.7]) yours returns" in line
    assert "wanted [True, False]: the threshold is that of the class that is named." in line


@pytest.mark.parametrize("answer", [pd.DataFrame({"a": range(50)}), pd.Series(["a", "b"]), "word " * 50])
def test_a_long_answer_is_cut_to_one_line(answer, capsys):
    line = told(capsys, lambda *arguments: answer)
    assert "[...], wanted [False, True]: true is who stays." in line or "dtype: str, wanted" in line


def test_of_many_numbers_the_sentence_counts_the_wrong_ones(capsys):
    def mine(confidence, predicted=None, thresholds=None):
        if predicted is None:
            return confidence > 5
        return confidence < thresholds[predicted]

    line = told(capsys, mine, real=REAL)
    assert line == "mine is wrong: for the notebook's data yours differs at 3 of 20 places: the reason."


def test_code_that_writes_into_its_arguments_is_told_so_and_spoils_nothing(capsys):
    def mine(confidence, predicted, thresholds):
        stay = confidence < thresholds[predicted]
        thresholds.zero_()
        return stay

    assert told(capsys, mine) == told(capsys, mine)
    assert told(capsys, mine).endswith(
        " ([0.9, 0.4], [0, 0], [0.5]) yours changes its argument 3: work on a copy."
    )


def test_code_that_writes_into_a_table_is_told_so(capsys):
    def mine(table, drop):
        table["allowed"] = table["valid_drop"] <= drop
        return table[table["allowed"]]["valid_reduction"].idxmax()

    assert told(capsys, mine, "cheapest").endswith(", 1) yours changes its argument 1: work on a copy.")


@pytest.mark.parametrize(
    ("convert", "kind"),
    [(torch.Tensor.long, "torch.int64"), (torch.Tensor.tolist, "bool"), (torch.Tensor.float, "torch.float32")],
)
def test_an_answer_of_another_type_is_told_which_is_wanted(convert, kind, capsys):
    def mine(confidence, predicted, thresholds):
        return convert(confidence < thresholds[predicted])

    check(mine, "survivors", [], dtype=torch.bool)
    line = capsys.readouterr().out
    assert f"yours returns values of type {kind}, wanted a tensor of type torch.bool." in line
