"""Joint training: as long as the backbone's, so by hand, and its tables are kept in git."""

from pathlib import Path

import torch
from tqdm import tqdm

from btsee_lib.calibration import SURVIVORS
from btsee_lib.compute import new_fabric
from btsee_lib.config import params
from btsee_lib.data import Splits
from btsee_lib.evaluation import CALIBRATION_ALONE, evaluate_configurations
from btsee_lib.store import artefacts, results
from btsee_lib.store.measured import keep_comparison
from btsee_lib.studies import freezing, joint
from btsee_lib.trees import of_scheme

ARTEFACT = "joint"


def measure_joint() -> None:
    """Train backbone and branches together, or load what is there, and set them beside the frozen backbone."""
    splits, _, features, trees, cost, _ = results.load_results()
    boosting, evaluation = params("boosting"), params("evaluation")
    seed = params("backbone").seed
    logits = _answers(splits)
    tree, own = freezing.as_cascade(logits, splits, seed)
    independent = of_scheme(trees, CALIBRATION_ALONE.training)
    frozen, jointly = (
        evaluate_configurations(each, stored, cost, boosting, calibrations=[SURVIVORS])
        for each, stored in ((independent, features), ([tree], own))
    )
    curves, gains = freezing.fronts_beside(frozen, jointly, evaluation)
    test = features["test"]
    of_frozen = [torch.cat([each.logits["test"], test.logits[None]]) for each in independent]
    exits = freezing.exits_beside(of_frozen, logits["test"], test.labels, evaluation)
    tables = {"curves": curves, "gains": gains, "exits": exits}
    where, mean = keep_comparison(ARTEFACT, tables), gains.iloc[-1]
    print(f"{where}: {mean['gain']:+.2f} points ({mean['low']:+.2f} to {mean['high']:+.2f}) at equal compute")


def _answers(splits: Splits) -> dict[str, torch.Tensor]:
    """What the exits of the joint network answer on valid and test; it is trained if need be."""
    backbone, branches = params("backbone"), params("branches")
    sections = [params("data"), params("compute"), backbone, branches]
    expected = artefacts.fingerprint(sections, joint, splits=splits.digest)

    def make(folder: Path) -> None:
        network = joint.new_joint_network(splits, backbone, branches)
        joint.train_jointly(network, splits, backbone, new_fabric(params("compute").precision), tqdm)
        artefacts.save_tensors(folder / "network.pt", network.state_dict())
        artefacts.save_tensors(folder / "answers.pt", joint.answers(network, splits))

    return artefacts.load_tensors(artefacts.ensure(ARTEFACT, expected, make) / "answers.pt")
