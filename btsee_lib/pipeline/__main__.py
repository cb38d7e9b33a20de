"""The command line: ``python -m btsee_lib.pipeline ACTION``, in the folder of an experiment.

``run 02_backbone`` executes a notebook, ``publish`` copies tables, executed notebooks and numbers into
``reports/`` and draws the figures, ``figures`` draws them again, ``profile cifar-10`` writes the home of
another experiment. What only one action needs is imported there: a stage starts several times, and imports
take seconds.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from btsee_lib.config import check_params, params
from btsee_lib.errors import ArtefactError, DataError, ParameterError
from btsee_lib.experiment import current_experiment, input_path
from btsee_lib.pipeline import notebooks, profiles, verification


def fetch_data() -> None:
    """Fetch and verify the data set that ``params.yaml`` names."""
    from btsee_lib.store.results import load_data

    splits = load_data()
    sizes = ", ".join(f"{len(getattr(splits, name)):,} {name}" for name in ("train", "valid", "test"))
    print(f"data: {sizes}, from {splits.source}")


def note_input() -> None:
    """Write down what the input data are, so that DVC sees pictures deleted, added or relabelled."""
    parameters, path = params("data"), current_experiment().artifacts / "input.txt"
    identity = parameters.name
    if input_path(parameters.name, parameters.path) is not None:
        from btsee_lib.data.sets import source_identity

        identity = source_identity(parameters)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{identity}\n")


def make_backbone() -> None:
    """Make the backbone and its features: what ``torchrun`` starts, on one machine or on several."""
    from tqdm import tqdm

    from btsee_lib.store.results import make_backbone_and_features

    first = os.environ.get("RANK", "0") == "0"
    make_backbone_and_features(tqdm if first else iter)


def make_artefacts() -> None:
    """Make everything that takes long, unless it is there: then the notebooks only load it."""
    from tqdm import tqdm

    from btsee_lib.store import deployment_results, results

    splits = results.load_data()
    backbone, _ = results.make_backbone(splits, tqdm)
    results.make_features(backbone, splits, tqdm)
    results.make_trees(tqdm)
    results.make_studies(tqdm)
    deployment_results.make_static_backbone(splits, tqdm)


def publish(names: Sequence[str], own_figures: str | None) -> None:
    """Publish the results of some notebooks, by default of all; draw figures of one's own as well."""
    from btsee_lib.pipeline import publishing

    for name in names:
        notebooks.source_of(name)
    if own_figures:
        publishing.register_figures(own_figures)
    publishing.publish(names)


def draw_figures() -> None:
    """Draw every figure again from the published tables."""
    from btsee_lib.pipeline import publishing

    publishing.draw_all()


def write_explorer() -> None:
    """Write the margin explorer's page from the artefacts that are there."""
    from btsee_lib.pipeline import explorer

    explorer.write_explorer()


def write_site() -> None:
    """Write the site of notebooks, README and explorer."""
    from btsee_lib.pipeline import site

    site.write_site()


def write_readme() -> None:
    """Fill the README's tables from the results in git."""
    from btsee_lib.pipeline import readme

    readme.write_readme()


ACTIONS = {
    "check": check_params,
    "data": fetch_data,
    "input": note_input,
    "backbone": make_backbone,
    "artefacts": make_artefacts,
    "explorer": write_explorer,
    "figures": draw_figures,
    "readme": write_readme,
    "site": write_site,
    "times": notebooks.print_times,
}
NAMED_ACTIONS = {"run": notebooks.run, "profile": profiles.set_up_profile, "verify": verification.verify}


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=(*ACTIONS, *NAMED_ACTIONS, "publish"))
    parser.add_argument("names", nargs="*", help="of notebooks, such as 02_backbone; of a profile")
    parser.add_argument("--figures", metavar="MODULE", help="a module with figures of its own")
    arguments = parser.parse_args()
    if arguments.action in ACTIONS:
        ACTIONS[arguments.action]()
    elif arguments.action == "publish":
        publish(arguments.names, arguments.figures)
    elif not arguments.names:
        parser.error(f"{arguments.action} needs a name, such as 02_backbone or cifar-10, or a folder")
    else:
        for name in arguments.names:
            NAMED_ACTIONS[arguments.action](name)


def main_with_clear_errors() -> None:
    """Run ``main``; a problem that has a remedy ends in its sentence, without a trace."""
    try:
        main()
    except (ParameterError, DataError, ArtefactError, OSError) as problem:
        sys.exit(f"error: {problem}")


if __name__ == "__main__":
    main_with_clear_errors()
