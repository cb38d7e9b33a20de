import math
from dataclasses import replace

import pandas as pd
import pytest

from btsee_lib.studies.fewer_images import by_seed, change_to_most, gains_on_same_images, over_seeds
from btsee_lib.studies.survivors import training_gains
from btsee_lib.trees import tree_of


@pytest.fixture
def pair(independent, boosted_tree):
    return tree_of("independent", 0, independent), tree_of("boosted", 0, boosted_tree)


def test_of_all_images_the_gains_are_those_of_the_training_gains(pair, features, boosting_parameters):
    ours = gains_on_same_images({300: pair}, features, boosting_parameters)
    theirs = training_gains([pair[0]], [pair[1]], features, boosting_parameters).table
    both = ours[~ours["closed"]].merge(theirs, on=["seed", "branch", "m1", "m2"], suffixes=("", "_theirs"))
    assert len(both) == len(theirs) > 4
    for column in ("gain", "boosted_accuracy", "independent_accuracy", "train_survivors"):
        assert both[column].to_numpy(float) == pytest.approx(both[f"{column}_theirs"].to_numpy(float))


def test_whatever_fewer_images_made_of_boosted_branches_all_are_judged_on_the_same_test_images(
    pair, features, boosting_parameters
):
    independent, boosted = pair
    wrong = replace(
        boosted, logits={name: -each for name, each in boosted.logits.items()}
    )  # would pass others on
    found = gains_on_same_images({100: (independent, wrong), 300: pair}, features, boosting_parameters)
    few, many = (found[found["train_images"] == number] for number in (100, 300))
    assert few["independent_accuracy"].tolist() == many["independent_accuracy"].tolist()
    assert few["gain"].tolist() != many["gain"].tolist()


def table(*rows):
    return pd.DataFrame(rows, columns=["branch", "m1", "m2", "seed", "train_images", "closed", "gain"])


def test_a_branch_that_is_closed_anywhere_is_left_out_everywhere():
    nothing = math.nan
    found = by_seed(
        table(
            *(
                (2, margin, nothing, seed, images, False, margin + seed + images)
                for seed in (0, 1)
                for images in (1, 2)
                for margin in (0.0, 4.0)
            ),
            *(
                (2, 9.0, nothing, seed, images, (seed, images) == (1, 2), 100.0)
                for seed in (0, 1)
                for images in (1, 2)
            ),
        )
    )
    assert found.to_dict("index") == {(2, 0): {1: 3, 2: 4}, (2, 1): {1: 4, 2: 5}}


def test_the_interval_over_seeds_is_that_of_students_t():
    gains = pd.DataFrame(
        {100: [1.0, 2, 3], 200: [5.0, 5, 5]},
        pd.MultiIndex.from_product([[2], [0, 1, 2]], names=["branch", "seed"]),
    )
    found = over_seeds(gains.rename_axis(columns="train_images"), 0.95)
    assert found[["branch", "train_images", "gain"]].to_numpy().tolist() == [[2, 100, 2], [2, 200, 5]]
    # One apart: a standard deviation of 1, two degrees of freedom.
    assert (found["high"] - found["gain"]).tolist() == pytest.approx([4.302653 / 3**0.5, 0])
    assert (found["gain"] - found["low"]).tolist() == pytest.approx([4.302653 / 3**0.5, 0])


def test_a_change_to_most_images_is_that_of_each_seed():
    gains = pd.DataFrame({1: [2.0, 3.0], 2: [4.0, 4.0], 4: [5.0, 9.0]})
    assert change_to_most(gains).to_dict("list") == {1: [3.0, 6.0], 2: [1.0, 5.0]}
