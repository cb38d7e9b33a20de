"""The trained branches of a scheme and a seed, and how a configuration finds its own among them.

What a branch of a sequential scheme is trained on depends on the margins *before* it only, so 4 x 4 x 4
configurations need 1 + 4 + 16 trainings and not 192: they form a tree, whose node ``(m_1, ..., m_{b-1})`` is
branch b as trained behind those margins. The tree of another scheme has one node a branch.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd
import torch
from torch import Tensor


@dataclass(frozen=True)
class TrainedBranch:
    """A branch after training, or a closed one that had too few survivors to be trained.

    ``margins`` are those before it (empty if the scheme is not sequential), ``state`` its weights (empty
    if closed), ``logits`` its answers on every split, float32 (N, K) each; if it is closed, those of the branch
    before, or zeros.
    """

    branch: int
    margins: tuple[float, ...]
    train_survivors: int
    valid_survivors: int
    closed: bool
    state: dict[str, Tensor]
    logits: dict[str, Tensor]


@dataclass(frozen=True)
class BranchTree:
    """All branches of one scheme and seed, enough for every configuration.

    ``nodes``: one row a branch (``training``, the scheme's name, ``branch, m1, m2, ..., train_survivors,
    valid_survivors, closed``); ``logits``: for valid and test, float32 (nodes, N, K); ``states``: the weights.
    """

    scheme: str
    seed: int
    nodes: pd.DataFrame
    logits: dict[str, Tensor]
    states: list[dict[str, Tensor]]

    def rows(self, margins: Sequence[float]) -> list[int]:
        """Return the positions of the branches of a configuration, first branch first."""
        before = [tuple(margins[:b]) if self.is_sequential else () for b in range(len(margins))]
        return [self.position[number, behind] for number, behind in enumerate(before, start=1)]

    @property
    def is_sequential(self) -> bool:
        """Whether any branch was trained behind given margins."""
        return any(behind for _, behind in self.position)

    @cached_property
    def position(self) -> dict[tuple[int, tuple[float, ...]], int]:
        """Where the branch of a number behind given margins stands."""
        margins = self.nodes[margin_columns(self.nodes)]
        behind = [tuple(row[~pd.isna(row)].tolist()) for row in margins.to_numpy(float)]
        return {key: row for row, key in enumerate(zip(self.nodes["branch"].tolist(), behind, strict=True))}


def of_scheme(trees: Iterable[BranchTree], scheme: str) -> list[BranchTree]:
    """Return the trees of a scheme, by its name, one a seed."""
    return [tree for tree in trees if tree.scheme == scheme]


def margin_columns(table: pd.DataFrame) -> list[str]:
    """Return the columns ``m1, m2, ...`` of a table, the margin of each branch in precision points."""
    return [name for name in table.columns if name[0] == "m" and name[1:].isdigit()]


def margin_names(margins: Sequence[float]) -> dict[str, float]:
    """Return the margins of the first branches by the columns that they have in tables."""
    return {f"m{number}": margin for number, margin in enumerate(margins, start=1)}


def tree_of(scheme: str, seed: int, trained: Sequence[TrainedBranch]) -> BranchTree:
    """Put the branches of a scheme (its name) and a seed together; their outputs on train are not kept."""
    rows = [
        {
            "training": scheme,
            "branch": each.branch,
            **margin_names(each.margins),
            "train_survivors": each.train_survivors,
            "valid_survivors": each.valid_survivors,
            "closed": each.closed,
        }
        for each in trained
    ]
    logits = {name: torch.stack([each.logits[name] for each in trained]) for name in ("valid", "test")}
    return BranchTree(scheme, seed, pd.DataFrame(rows), logits, [each.state for each in trained])
