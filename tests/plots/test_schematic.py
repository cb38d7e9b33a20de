import itertools

import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb
from matplotlib.patches import FancyArrow, Rectangle
from matplotlib.text import Text

from btsee_lib.cost import CostModel
from btsee_lib.plots.canvas import FADED
from btsee_lib.plots.schematic import cascade, cascade_table
from btsee_lib.plots.style import GREY

COSTS = {
    "three branches": CostModel((40, 30, 20, 10), (1, 2, 3)),
    "one branch": CostModel((30, 10), (2,)),
    "no branch": CostModel((30, 10), ()),
    "more branches than colours": CostModel((5, 1, 4, 2, 3, 1, 2), (1,) * 6),
}
THREE = COSTS["three branches"]


@pytest.fixture
def drawing():
    drawn = []

    def draw(*arguments, **named):
        drawn.append(cascade(*arguments, **named))
        return drawn[-1].axes[0]

    yield draw
    for figure in drawn:
        plt.close(figure)


def of_part(axes, part, kind):
    return [each for each in axes.findobj(kind) if part in (each.get_gid() or "").split(" | ")]


def words(axes, part):
    return [text.get_text() for text in of_part(axes, part, Text)]


def test_the_table_of_a_cost_model_is_one_row_a_stage():
    table = cascade_table(THREE, [0.5, 0.2, 0.2, 0.1])
    expected = {"stage": [1, 2, 3, 4], "macs": [40, 30, 20, 10], "branch_macs": [1, 2, 3, None]}
    expected |= {"share": [0.5, 0.2, 0.2, 0.1], "spent": [41, 73, 96, 106]}
    pd.testing.assert_frame_equal(table, pd.DataFrame(expected))
    assert cascade_table(THREE)["share"].isna().all()


@pytest.mark.parametrize("cost", COSTS.values(), ids=COSTS)
def test_stages_are_as_wide_as_their_macs_and_stand_in_a_row(drawing, cost):
    axes = drawing(cascade_table(cost))
    stages = of_part(axes, "stages", Rectangle)
    widths = [each.get_width() for each in stages]
    assert [each / sum(widths) for each in widths] == pytest.approx([m / cost.backbone for m in cost.stages])
    ends = [(each.get_x(), each.get_x() + each.get_width()) for each in stages]
    assert all(end < start for (_, end), (start, _) in itertools.pairwise(ends))
    for number in range(1, len(cost.branches) + 1):
        assert words(axes, f"branch {number}")[-1].startswith(f"branch {number}\n")
    assert not of_part(axes, f"branch {len(cost.branches) + 1}", Text)


def test_arrows_are_as_wide_as_their_share_of_the_images(drawing):
    axes = drawing(cascade_table(THREE, [0.5, 0.2, 0.2, 0.1]))
    everyone = of_part(axes, "images", FancyArrow)[0]._width
    survivors = [arrow._width / everyone for arrow in of_part(axes, "survivors", FancyArrow)]
    assert survivors == pytest.approx([0.5, 0.3, 0.1])
    leaving = [of_part(axes, f"exit {n}", FancyArrow)[0]._width / everyone for n in (1, 2, 3, 4)]
    assert leaving == pytest.approx([0.5, 0.2, 0.2, 0.1])
    assert words(axes, "survivors")[1::2] == ["50 %", "30 %", "10 %"]
    assert axes.get_title(loc="left") == "90 % of the images leave before the last stage"


def test_an_exit_tells_what_leaves_and_what_has_been_spent(drawing):
    branch_2_is_closed = [41.0, 71.0, 94.0, 104.0]
    axes = drawing(cascade_table(THREE, [0.5, 0.0, 0.4, 0.1], branch_2_is_closed))
    assert words(axes, "exit 1")[1:] == ["50 %", "41 % of MACs"]
    assert words(axes, "exit 2")[1:] == ["0 %", "71 % of MACs"]
    assert words(axes, "exit 4")[1:] == ["10 %", "104 % of MACs"]
    assert words(drawing(cascade_table(THREE)), "exit 4")[1:] == ["106 % of MACs"]
    nobody = cascade_table(THREE, [0.5, 0.0, 0.4, 0.1])
    assert words(drawing(nobody), "exit 2")[1:] == ["0 %", "73 % of MACs"], "an open branch costs, taken or not"


@pytest.mark.parametrize(
    "part", ["stages", "stage 2", "squeeze", "branches", "branch 3", "thresholds", "exit 4"]
)
def test_only_the_highlighted_part_is_drawn_in_full(drawing, part):
    axes = drawing(cascade_table(THREE, [0.5, 0.2, 0.2, 0.1]), highlight=part)
    chosen = {id(artist) for artist in of_part(axes, part, Text) + of_part(axes, part, plt.Artist)}
    assert chosen
    for artist in axes.findobj(lambda each: each.get_gid()):
        if isinstance(artist, Text):
            if id(artist) not in chosen:
                assert to_rgb(artist.get_color()) == to_rgb(GREY)
        else:
            assert (artist.get_alpha() == FADED) == (id(artist) not in chosen)


def test_an_unknown_part_is_told_with_the_known_ones():
    before = plt.get_fignums()
    with pytest.raises(
        ValueError, match=r"no part 'branch 9' can be highlighted: use one of branch 1, .*stages"
    ):
        cascade(cascade_table(THREE), highlight="branch 9")
    assert plt.get_fignums() == before


@pytest.mark.parametrize("cost", COSTS.values(), ids=COSTS)
def test_no_words_lie_over_each_other(drawing, cost):
    exits = len(cost.stages)
    axes = drawing(cascade_table(cost, [1 / exits] * exits))
    axes.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes.texts]
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[number + 1 :])
