"""The best of all schemes and exit rules, as a cascade to take away: what ``make best`` trains and exports."""

from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from btsee_lib import boosting, deployment
from btsee_lib.cascade import Cascade, Exits, simulate
from btsee_lib.config import params
from btsee_lib.disk import replace_folder
from btsee_lib.errors import ArtefactError
from btsee_lib.exit_rules import EXIT_RULES
from btsee_lib.experiment import current_experiment
from btsee_lib.schemes import SCHEMES
from btsee_lib.schemes.scheme import Head
from btsee_lib.store import results, scheme_results
from btsee_lib.store.deployment_results import describe
from btsee_lib.store.measured import measured_comparison, shown_as
from btsee_lib.studies.effort import middle_rung
from btsee_lib.studies.other_ways import behind, best_offers
from btsee_lib.trees import BranchTree

AT_ONCE = 256  # images


def export_best() -> None:
    """Train the branches of the best scheme, unless they are there, and export them under the best rule.

    Raises
    ------
    ArtefactError
        If nothing has been compared on this data set, or a way to run the cascade decides unlike the others.
    """
    splits = results.load_data()
    backbone, _ = results.make_backbone(splits)
    features = results.make_features(backbone, splits)
    chosen, cost = best_that_runs(), results.cost_model(backbone, features, splits)
    parameters, rule = params("boosting"), EXIT_RULES[chosen["rule"]]
    tree = behind(scheme_results.trained_tree(chosen["training"], parameters.seeds[0]), middle_rung(parameters))
    knobs = (chosen["knob"],) * len(cost.branches)
    terms, images = boosting.calibration_terms(features, parameters), splits.test.images
    parts = (tree, knobs, backbone, features, params("branches"), terms)
    cascade = deployment.build_cascade(*parts, images.shape[1:], rule)
    exits = deployment.in_batches(lambda part: cascade.predict(splits.normalise(part)), images, AT_ONCE, tqdm)
    description = describe(cascade, exits, splits, features, cost, chosen["rule"], knobs)

    def write(folder: Path) -> None:
        deployment.save_cascade(folder / "cascade.pt", cascade, description)
        deployment.export(cascade, description, folder)
        (folder / "README.md").write_text(deployment.model_card(description, cascade.thresholds))
        stages = deployment.OnnxStages(folder)
        found = deployment.in_batches(lambda part: stages.predict(part.numpy()), images, AT_ONCE, tqdm)
        for way, each in {"PyTorch": exits, "ONNX": found}.items():
            _check_agreement(way, each, cascade, tree, features["test"].logits)

    folder = current_experiment().artifacts / "best_cascade"
    replace_folder(folder, write)
    measured = description.measured
    print(
        f"{chosen['training']} under {chosen['rule']}: {100 * measured['reduction']:.1f} % saved, accuracy "
        f"{100 * measured['accuracy']:.2f} % (the backbone: {100 * measured['backbone_accuracy']:.2f} %).\n"
        f"PyTorch and ONNX decide {len(images):,} test images as the simulation does, but for rounding.\n"
        f"{folder.relative_to(current_experiment().root)}"
    )


def best_that_runs() -> pd.Series:
    """Pick what saves most on valid for ``deployment.published_drop``, of schemes that a cascade can run.

    Raises
    ------
    ArtefactError
        If there is none for this experiment.
    """
    experiment, max_drop = shown_as(), params("deployment").published_drop
    tables = measured_comparison(scheme_results.NAME)
    if experiment in tables:
        alone = [name for name, scheme in SCHEMES.items() if scheme.head.answers is Head.answers]
        offered = tables[experiment]["offers"]
        chosen = best_offers(offered[offered["training"].isin(alone) & (offered["max_drop"] == max_drop)])
        if len(chosen):
            return chosen.iloc[0]
    raise ArtefactError(
        f"no scheme and rule are known that lose {max_drop:g} points at most on {experiment}: "
        "run 'make schemes' first, with this drop in evaluation.max_drops"
    )


def _check_agreement(way: str, found: Exits, cascade: Cascade, tree: BranchTree, backbone: Tensor) -> None:
    """Raise an ArtefactError if a way to run the cascade decides unlike the simulation on stored logits."""
    confidence, predicted = cascade.rule.outputs(torch.cat([tree.logits["test"], backbone[None]]))
    outputs = confidence[:-1], predicted[:-1]
    expected = simulate(*outputs, predicted[-1], cascade.thresholds, confidence[-1])
    unexplained = deployment.agreement(expected, found, *outputs, cascade.thresholds)["unexplained"]
    if unexplained:
        raise ArtefactError(f"{way} and the simulation decide differently on {unexplained} test images")
