"""Checks of the exercises: each runs what a reader wrote and says in one sentence what is wrong with it."""

from btsee_exercises.cascades import (
    check_break_even,
    check_cascade,
    check_changes_sides,
    check_cheapest,
    check_leave_early,
    check_paired_interval,
    check_tail,
    check_unexplained,
    check_weights,
)
from btsee_exercises.classifiers import (
    check_conv_macs,
    check_leaks,
    check_pair,
    check_recall,
    check_reduction,
)
from btsee_exercises.comparisons import check_may_be_best, check_soft_weights
from btsee_exercises.survivors import (
    check_boost_one_branch,
    check_further_fall,
    check_shortfall,
    check_survivors,
    check_threshold,
)

__all__ = [
    "check_boost_one_branch",
    "check_break_even",
    "check_cascade",
    "check_changes_sides",
    "check_cheapest",
    "check_conv_macs",
    "check_further_fall",
    "check_leaks",
    "check_leave_early",
    "check_may_be_best",
    "check_pair",
    "check_paired_interval",
    "check_recall",
    "check_reduction",
    "check_shortfall",
    "check_soft_weights",
    "check_survivors",
    "check_tail",
    "check_threshold",
    "check_unexplained",
    "check_weights",
]
