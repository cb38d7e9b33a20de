import numpy as np
import pytest
import torch

from btsee_lib import decisions
from btsee_lib.cost import CostModel
from btsee_lib.features import SplitFeatures

COST = CostModel(stages=(10, 30), branches=(2,))


def split_of(predicted, labels):
    return SplitFeatures((), torch.eye(2)[predicted], torch.tensor(labels))


def test_a_cascade_on_one_split_by_hand():
    confidence = torch.tensor([[0.9, 0.2, 0.9, 0.1]])
    predicted = torch.tensor([[0, 0, 1, 1]])
    split = split_of([0, 1, 0, 1], [0, 1, 0, 0])
    result = decisions.run_simulation(confidence, predicted, split, torch.full((1, 2), 0.5), COST)
    assert result.exits.exit.tolist() == [0, 1, 0, 1]
    assert result.correct.tolist() == [True, True, False, False]
    assert result.cost.tolist() == [12, 42, 12, 42]
    assert result.summary() == pytest.approx(
        {"accuracy": 0.5, "drop": 25.0, "reduction": 1 - 27 / 40, "exit1": 0.5, "exit2": 0.5}
    )


def test_a_tally_reports_test_and_keeps_beside_it_what_valid_shows():
    features = {"valid": split_of([0, 1], [0, 1]), "test": split_of([0, 1, 1], [0, 1, 0])}
    outputs = {
        "valid": (torch.tensor([[0.9, 0.1]]), torch.tensor([[1, 1]])),
        "test": (torch.tensor([[0.9, 0.9, 0.1]]), torch.tensor([[0, 0, 0]])),
    }
    tally = decisions.Tally(features, COST)
    tally.add({"name": "one"}, outputs, torch.full((1, 2), 0.5))
    found = tally.decisions()
    (row,) = found.table.to_dict("records")
    assert row == pytest.approx(
        {"name": "one", "accuracy": 1 / 3, "drop": 100 / 3, "reduction": 1 - 66 / 3 / 40}
        | {"exit1": 2 / 3, "exit2": 1 / 3, "valid_drop": 50.0, "valid_reduction": 1 - 54 / 2 / 40}
    )
    assert found.correct.tolist() == [[True, False, False]]
    assert found.cost.dtype == np.float32
    assert found.cost.tolist() == [[12, 12, 42]]
    assert found.backbone_correct.tolist() == [True, True, False]
    assert found.backbone_cost == 40
