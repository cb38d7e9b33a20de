import pytest
import torch

from btsee_lib.deployment.model_card import model_card

MEASURED = {
    "images": 10000,
    "accuracy": 0.9258,
    "backbone_accuracy": 0.9314,
    "reduction": 0.6634,
    "backbone_macs": 28_573_184,
    "exit1": 0.87,
    "exit2": 0.04,
    "exit3": 0.01,
    "exit4": 0.08,
}


@pytest.fixture
def card(description):
    thresholds = torch.full((3, 10), 0.9)
    thresholds[1, 2] = torch.inf
    return model_card(description.model_copy(update={"measured": MEASURED}), thresholds)


def test_the_card_tells_data_accuracy_cost_and_limits(card):
    assert card.startswith("# fashion-mnist cascade")
    assert "10,000 test images" in card
    assert "| accuracy | 92.58 % (the backbone alone: 93.14 %) |" in card
    assert "| computation saved | 66.3 % of the backbone's 28.6 million" in card
    assert "87.0 %, 4.0 %, 1.0 %, 8.0 %" in card
    assert "a margin: of -10, -10, -10 points" in " ".join(card.split())
    assert "## Limits" in card


def test_the_card_lists_the_thresholds_of_all_classes(card, description):
    rows = [
        line
        for line in card.splitlines()
        if line.startswith(tuple(f"| {name} |" for name in description.classes))
    ]
    assert len(rows) == 10
    assert rows[2].endswith("| 0.90000 | never | 0.90000 |")
    assert rows[0].endswith("| 0.90000 | 0.90000 | 0.90000 |")


def test_a_missing_number_is_no_card(description):
    with pytest.raises(KeyError, match="images"):
        model_card(description, torch.zeros(3, 10))
