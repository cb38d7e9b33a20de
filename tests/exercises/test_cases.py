import pytest
import torch

from btsee_lib.exercises.cases import Case, check

WHY = "the reason"
REAL = [Case("for the notebook's data", (torch.arange(20),), torch.arange(20), WHY)]


def told(capsys, function, exercise="survivors", real=()):
    check(function, exercise, list(real))
    (line,) = capsys.readouterr().out.splitlines()
    return line


def returns_nothing(*arguments): ...


def returns_dots(*arguments):
    return ...


def refuses(*arguments):
    raise NotImplementedError


@pytest.mark.parametrize("stub", [returns_nothing, returns_dots, refuses])
def test_a_stub_is_told_that_it_is_not_written_and_nothing_stops(stub, capsys):
    assert told(capsys, stub).startswith(f"{stub.__name__} is not written yet: put your code")


def test_an_error_in_what_was_written_is_a_sentence(capsys):
    def mine(confidence, predicted, thresholds):
        return confidence < thresholds.of(predicted)

    assert told(capsys, mine).startswith(
        "mine is wrong: for one class ([0.9, 0.4], [0, 0], [0.5]) yours stops with "
    )


@pytest.mark.parametrize("answer", ["words", [1, 2, 3], None, {"a": 1}, 5])
def test_an_answer_of_another_kind_is_shown_beside_the_wanted_one(answer, capsys):
    cases = iter([torch.tensor([False, True]), answer])
    line = told(capsys, lambda *arguments: next(cases))
    assert "for two classes ([0.6, 0.6], [1, 0], [0.5, 0.7]) yours returns" in line
    assert "wanted [1, 0]: the threshold is that of the class that is named." in line


def test_of_many_numbers_the_sentence_counts_the_wrong_ones(capsys):
    def mine(confidence, predicted=None, thresholds=None):
        if predicted is None:
            return torch.where(confidence < 3, 7, confidence)
        return confidence < thresholds[predicted]

    line = told(capsys, mine, real=REAL)
    assert line == "mine is wrong: for the notebook's data yours differs at 3 of 20 places: the reason."


def test_code_that_writes_into_its_arguments_spoils_nothing(capsys):
    def mine(confidence, predicted, thresholds):
        stay = confidence < thresholds[predicted]
        confidence.zero_()
        return stay

    assert told(capsys, mine) == told(capsys, mine) == "mine is right in all 4 cases."
