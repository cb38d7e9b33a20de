"""The trained branches of a scheme and a seed as two artefacts: their weights, and what they answer.

Weights take minutes to make and are small, so that git can keep them; answers are made from them in seconds.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from btsee_lib.compute import set_up_torch
from btsee_lib.config import params
from btsee_lib.data.file_digests import digest_of_file
from btsee_lib.features import Features
from btsee_lib.schemes import SCHEMES
from btsee_lib.store import answers, artefacts
from btsee_lib.trees import BranchTree, TrainedBranch, tree_of

WEIGHTS, NODES, LOGITS = "branches.pt", "nodes.csv", "logits.pt"


@dataclass(frozen=True)
class TreeArtefact:
    """Where the branches of a scheme and a seed lie, and what they are made from.

    ``name``: of the artefact that holds the weights, what git may keep; ``made_from``: its fingerprint, that of
    the features among it.
    """

    name: str
    made_from: dict
    scheme: str
    seed: int

    def is_there(self) -> bool:
        """Tell whether weights and answers are there; weights that git keeps are taken over."""
        there = artefacts.is_there(self.name, self.made_from)
        return there and artefacts.is_there(self._answers, self._answers_made_from())

    def ensure(
        self, train: Callable[[], Iterable[TrainedBranch]], stored: Callable[[], Features]
    ) -> BranchTree:
        """Train the branches unless they are there, let them answer, and return them.

        Parameters
        ----------
        stored : returns the features that they answer from; called only if need be.
        """

        def make(folder: Path) -> None:
            set_up_torch(self.seed)
            write_weights(folder, tree_of(self.scheme, self.seed, list(train())))

        artefacts.ensure(self.name, self.made_from, make)
        return self.answered(stored)

    def answered(self, stored: Callable[[], Features]) -> BranchTree:
        """Let branches whose weights are there answer, unless they have, and return them."""
        artefacts.ensure(
            self._answers, self._answers_made_from(), lambda folder: self._answer(folder, stored())
        )
        return self._read()

    def require(self, stage: str) -> BranchTree:
        """Read the branches that an earlier notebook trained.

        Raises
        ------
        ArtefactError
            If they are missing or were made from something else. The message names the difference.
        """
        artefacts.require(self.name, self.made_from, stage)
        artefacts.require(self._answers, self._answers_made_from(), stage)
        return self._read()

    @property
    def _answers(self) -> str:
        return f"{self.name}_answers"

    def _answers_made_from(self) -> dict:
        # Weights of another machine may differ by a little, whatever they are made from.
        weights = digest_of_file(artefacts.folder_of(self.name) / WEIGHTS, "sha256")
        return artefacts.fingerprint([], answers, [self.name], weights=weights)

    def _answer(self, folder: Path, stored: Features) -> None:
        head = SCHEMES[self.scheme].head
        tree = answers.with_answers(self._read_weights(), head, stored, params("branches"))
        artefacts.save_tensors(folder / LOGITS, tree.logits)

    def _read(self) -> BranchTree:
        logits = artefacts.load_tensors(artefacts.folder_of(self._answers) / LOGITS)
        return replace(self._read_weights(), logits=logits)

    def _read_weights(self) -> BranchTree:
        folder = artefacts.folder_of(self.name)
        states = artefacts.load_tensors(folder / WEIGHTS)
        ordered = [states[str(position)] for position in range(len(states))]
        return BranchTree(self.scheme, self.seed, pd.read_csv(folder / NODES), {}, ordered)


def write_weights(folder: Path, tree: BranchTree) -> None:
    """Write the weights of a tree, and which branch is which."""
    tree.nodes.to_csv(folder / NODES, index=False)
    states = {str(position): state for position, state in enumerate(tree.states)}
    artefacts.save_tensors(folder / WEIGHTS, states)
