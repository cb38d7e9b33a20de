import numpy as np
import pandas as pd
import pytest
import torch

from btsee_lib.boosting import configurations
from btsee_lib.cascade import simulate
from btsee_lib.cost import CostModel
from btsee_lib.deployment import time_costs
from btsee_lib.evaluation import Calibrator
from btsee_lib.experiment import repository_root

COST = CostModel(stages=(100, 110, 120, 130), branches=(5, 4, 3))


def by_exit(cost):
    """What a table of exits would hold if all parts cost what a cost model says."""
    stages, branches = np.cumsum(cost.stages), np.cumsum([0, *cost.branches])
    rows = [(e, e, float(stages[e - 1] + branches[e])) for e in (1, 2, 3)]
    rows += [(4, b, float(stages[3] + branches[b])) for b in (3, 2, 1, 0)]
    return pd.DataFrame(rows, columns=["exit", "branches", "milliseconds"])


def test_the_parts_are_those_that_make_up_the_times_of_the_exits():
    found = time_costs.cost_of_parts(by_exit(COST), "milliseconds")
    assert found.stages == pytest.approx(COST.stages)
    assert found.branches == pytest.approx(COST.branches)
    assert found.backbone == pytest.approx(COST.backbone)


def test_a_closed_branch_takes_no_time():
    thresholds = torch.zeros(3, 2)
    thresholds[1] = torch.inf
    found = time_costs.cost_of_parts(by_exit(COST), "milliseconds").by_exit(thresholds)
    assert found.tolist() == pytest.approx([105, 215, 338, 468])


def test_at_the_break_even_a_branch_alone_costs_what_it_saves():
    shares = time_costs.break_even(COST)
    for number, share in enumerate(shares, start=1):
        saved = share * sum(COST.stages[number:])
        assert saved == pytest.approx(COST.branches[number - 1])
    assert shares == sorted(shares)


def test_the_time_of_a_configuration_is_the_mean_over_its_exits_on_valid(
    trees, features, boosting_parameters, terms
):
    times = CostModel(stages=(0.0, 0.0, 0.0, 1.0), branches=(0.0, 0.0, 0.0))
    for tree in trees:
        table = time_costs.configuration_times([tree], features, times, boosting_parameters)
        assert len(table) == len(configurations(boosting_parameters))
        margins = configurations(boosting_parameters)[5]
        outputs, thresholds = Calibrator(tree, features, terms).calibrated(margins)
        exits = simulate(*outputs["valid"], features["valid"].predicted, thresholds).exit
        assert table["milliseconds"].iloc[5] == pytest.approx(float((exits == 3).double().mean()))
        assert tuple(table.iloc[5][["m1", "m2", "m3"]]) == margins


def test_the_recorded_means_are_near_those_that_the_parts_predict():
    latency = pd.read_csv(repository_root() / "reports" / "tables" / "latency.csv")
    timed = latency[latency["predicted"].notna()]
    assert len(timed) >= 4
    assert (timed["predicted"] / timed["mean"]).between(0.75, 1.25).all()
