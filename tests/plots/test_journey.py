from dataclasses import replace

import pytest
import torch
from matplotlib import pyplot as plt

from btsee_lib.cost import CostModel
from btsee_lib.data import ImageSet
from btsee_lib.plots.journey import AMBIGUOUS, EASY, MISTAKE, MOST_CLASSES, SHUT_IN, Journeys, draw, four_images

CLASSES = ("coat", "shirt", "bag")
COST = CostModel((40, 30, 30), (1, 1))
# By image: what branch 1, branch 2 and the backbone say of the three classes, and the true class.
SAID = {
    "sure": ([0.98, 0.01, 0.01], [0.9, 0.05, 0.05], [0.9, 0.05, 0.05], 0),
    "less sure": ([0.95, 0.03, 0.02], [0.9, 0.05, 0.05], [0.9, 0.05, 0.05], 0),
    "torn": ([0.46, 0.44, 0.1], [0.44, 0.46, 0.1], [0.46, 0.44, 0.1], 1),
    "kept by its bar": ([0.02, 0.02, 0.96], [0.1, 0.1, 0.8], [0.1, 0.1, 0.8], 2),
    "kept for a while": ([0.02, 0.01, 0.97], [0.01, 0.0, 0.99], [0.1, 0.1, 0.8], 2),
    "mistaken": ([0.2, 0.6, 0.2], [0.02, 0.96, 0.02], [0.5, 0.3, 0.2], 0),
    "mistaken, less sure": ([0.93, 0.05, 0.02], [0.2, 0.6, 0.2], [0.2, 0.6, 0.2], 1),
}
NAMES = list(SAID)
# At branch 1 bags never leave; at branch 2 coats never, and bags hardly ever.
THRESHOLDS = torch.tensor([[0.9, 0.95, torch.inf], [torch.inf, 0.9, 0.985]])


def journeys(channels=1, names=NAMES):
    *said, labels = zip(*(SAID[name] for name in names), strict=True)
    images = torch.arange(len(names) * channels * 16).reshape(-1, channels, 4, 4).to(torch.uint8)
    logits = torch.tensor(said).clamp(min=1e-4).log()
    return Journeys(ImageSet(images, torch.tensor(labels)), logits, THRESHOLDS, COST, CLASSES)


@pytest.fixture
def figure_of():
    drawn = []

    def draw_it(*arguments):
        drawn.append(draw(*arguments))
        drawn[-1].draw_without_rendering()
        columns = len(arguments[0].logits) + 1
        return [drawn[-1].axes[start : start + columns] for start in range(0, len(drawn[-1].axes), columns)]

    yield draw_it
    for figure in drawn:
        plt.close(figure)


def title(axes):
    return axes.get_title(loc="left")


def test_images_leave_where_their_thresholds_let_them():
    assert journeys().exits.exit.tolist() == [0, 0, 2, 2, 1, 1, 0]


def test_four_images_are_chosen_by_rule():
    chosen = {kind: NAMES[position] for kind, position in four_images(journeys()).items()}
    assert chosen == {EASY: "sure", AMBIGUOUS: "torn", SHUT_IN: "kept by its bar", MISTAKE: "mistaken"}


def test_the_rules_do_not_hang_on_the_order_of_the_images():
    turned = NAMES[::-1]
    chosen = {kind: turned[position] for kind, position in four_images(journeys(names=turned)).items()}
    assert chosen == {EASY: "sure", AMBIGUOUS: "torn", SHUT_IN: "kept by its bar", MISTAKE: "mistaken"}


@pytest.mark.parametrize(
    ("kind", "without"),
    [
        (EASY, ("sure", "less sure")),
        (SHUT_IN, ("kept by its bar", "kept for a while")),
        (MISTAKE, ("mistaken", "mistaken, less sure")),
    ],
)
def test_a_kind_without_images_is_none_and_its_row_says_so(figure_of, kind, without):
    others = journeys(names=[name for name in NAMES if name not in without])
    chosen = four_images(others)
    assert [name for name, position in chosen.items() if position is None] == [kind]
    rows = dict(zip(chosen, figure_of(others, chosen), strict=True))
    assert [title(axes) for axes in rows[kind]] == [f"{kind}:\nno such image here", "", "", ""]
    assert not any(axes.axison for axes in rows[kind])


def test_nobody_is_shut_in_where_branch_1_lets_no_class_out():
    closed = replace(journeys(), thresholds=torch.full((2, 3), torch.inf))
    assert closed.exits.exit.tolist() == [2] * len(NAMES)
    assert [kind for kind, position in four_images(closed).items() if position is not None] == [AMBIGUOUS]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_row_tells_how_far_an_image_comes_and_what_it_costs(figure_of, channels):
    (row,) = figure_of(journeys(channels), {"mine": NAMES.index("mistaken")})
    assert title(row[0]) == "mine"
    assert row[0].get_xlabel() == "image 5: coat"
    assert [title(axes).replace("\n", "; ") for axes in row[1:]] == [
        "branch 1: stays; sure 0.6000, takes 0.9500",
        "branch 2: leaves, wrong; sure 0.9600, takes 0.9000",
        "backbone: not run; ",
    ]
    assert [axes.get_xlabel() for axes in row[1:]] == ["41 % of MACs so far", "72 % of MACs so far", ""]
    assert [bars.patches[0].get_alpha() for bars in (axes.containers[0] for axes in row[1:])] == [1, 1, 0.3]


def test_bars_are_the_probabilities_and_ticks_stand_at_the_thresholds_of_the_named_class(figure_of):
    (row,) = figure_of(journeys(), {"mine": NAMES.index("kept by its bar")})
    for number, axes in enumerate(row[1:]):
        widths = [bar.get_width() for bar in axes.patches]
        assert widths == pytest.approx(SAID["kept by its bar"][number])
    first, second, last = row[1:]
    assert title(first).endswith("sure 0.9600, never leaves")
    (tick,) = second.lines
    assert tick.get_xdata() == pytest.approx([0.985, 0.985])
    assert min(tick.get_ydata()) < 2 < max(tick.get_ydata())
    assert list(last.lines) == []  # the backbone asks for nothing
    assert title(last).startswith("backbone: leaves, right")


def test_of_many_classes_the_likeliest_and_the_true_one_are_drawn(figure_of):
    logits = torch.zeros(2, 1, 30)
    logits[..., 5:20] = torch.linspace(1, 4, 15)
    images = ImageSet(torch.zeros(1, 1, 4, 4, dtype=torch.uint8), torch.tensor([29]))
    names = [f"class {number}" for number in range(30)]
    many = Journeys(images, logits, torch.full((1, 30), 0.9), CostModel((1, 1), (1,)), names)
    (row,) = figure_of(many, {"mine": 0})
    labels = row[1].get_yticklabels()
    assert [label.get_text() for label in labels] == [f"class {n}" for n in (*range(11, 20), 29)]
    assert len(labels) == MOST_CLASSES
    assert [label.get_text() for label in labels if label.get_weight() == "bold"] == ["class 29"]


def test_two_classes_are_enough(figure_of):
    two = journeys()
    two = replace(two, logits=two.logits[..., :2], thresholds=THRESHOLDS[:, :2], classes=CLASSES[:2])
    two = replace(two, images=ImageSet(two.images.images, two.images.labels.clamp(max=1)))
    assert len(figure_of(two, four_images(two))) == 4


def test_of_many_classes_the_one_that_an_exit_names_is_drawn_however_unsure_it_is(figure_of):
    logits = torch.zeros(2, 1, 30)
    logits[0, 0, 25] = 0.1  # what branch 1 names; the backbone is sure of many others
    logits[1, 0, 5:20] = torch.linspace(1, 4, 15)
    images = ImageSet(torch.zeros(1, 1, 4, 4, dtype=torch.uint8), torch.tensor([29]))
    names = [f"class {number}" for number in range(30)]
    many = Journeys(images, logits, torch.full((1, 30), 0.01), CostModel((1, 1), (1,)), names)
    (row,) = figure_of(many, {"mine": 0})
    drawn = [label.get_text() for label in row[1].get_yticklabels()]
    assert {"class 25", "class 29", "class 19"} <= set(drawn)
    assert len(drawn) == MOST_CLASSES
