"""The command line: ``python -m btsee_lib.pipeline ACTION``, in the folder of an experiment.

``run 02_backbone`` executes a notebook, ``publish`` copies tables, executed notebooks and numbers into
``reports/`` and draws the figures, ``figures`` draws them again, ``profile cifar-10`` writes the home of
another experiment. The module of an action is imported once it is asked for: a stage starts several times,
and imports take seconds.
"""

import argparse
import importlib
import os
import sys
from pkgutil import resolve_name

from btsee_lib.errors import ArtefactError, DataError, ParameterError, TrainingError

ACTIONS = {
    "check": "btsee_lib.pipeline.limits:check",
    "data": "btsee_lib.pipeline.making:fetch_data",
    "input": "btsee_lib.pipeline.inputs:note_input",
    "backbone": "btsee_lib.pipeline.making:make_backbone",
    "keep": "btsee_lib.pipeline.making:keep_in_git",
    "artefacts": "btsee_lib.pipeline.making:make_artefacts",
    "solutions": "btsee_lib.pipeline.notebooks:run_solutions",
    "rivals": "btsee_lib.store.rival_results:measure_rivals",
    "schemes": "btsee_lib.store.scheme_results:measure_other_ways",
    "fewer-images": "btsee_lib.store.fewer_images_results:measure_fewer_images",
    "best": "btsee_lib.store.best_cascade:export_best",
    "backbones": "btsee_lib.pipeline.backbones:measure_backbones",
    "joint": "btsee_lib.store.joint_results:measure_joint",
    "explorer": "btsee_lib.pipeline.explorer:write_explorer",
    "figures": "btsee_lib.pipeline.publishing:draw_all",
    "readme": "btsee_lib.pipeline.readme:write_readme",
}
PUBLISH = {"publish": "btsee_lib.pipeline.publishing:publish"}  # takes any number of names, or none
NAMED_ACTIONS = {
    "run": "btsee_lib.pipeline.notebooks:run",
    "profile": "btsee_lib.pipeline.profiles:set_up_profile",
    "verify": "btsee_lib.pipeline.verification:verify",
}


def main() -> None:
    """Do what the command line says; a problem that has a remedy ends in its sentence, without a trace."""
    known = ACTIONS | PUBLISH | NAMED_ACTIONS
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=known)
    parser.add_argument("names", nargs="*", help="of notebooks, such as 02_backbone; of a profile")
    parser.add_argument("--figures", metavar="MODULE", help="a module with figures of its own")
    arguments = parser.parse_args()
    action, names = arguments.action, arguments.names
    if action in ACTIONS and names:
        parser.error(f"{action} takes no name, such as {names[0]}")
    if action in NAMED_ACTIONS and not names:
        parser.error(f"{action} needs a name, such as 02_backbone or cifar-10, or a folder")
    if arguments.figures:
        importlib.import_module(arguments.figures)  # registers them
    try:
        function = resolve_name(known[action])
        if action in ACTIONS:
            function()
        elif action in PUBLISH:
            function(names)
        else:
            for name in names:
                function(name)
    except (ParameterError, DataError, TrainingError, ArtefactError, OSError) as problem:
        sys.exit(f"error: {problem}")
    except KeyboardInterrupt:
        told = f"{action} was interrupted: type the same again; what was finished is kept"
        print(f"\n{told}", file=sys.stderr, flush=True)
        os._exit(130)  # at once: a thread may still wait for a kernel that has gone


if __name__ == "__main__":
    main()
