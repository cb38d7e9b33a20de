"""Write ``docs/explorer.html``: the margin explorer over all experiments whose artefacts are there."""

import contextlib
from pathlib import Path

from btsee_lib.config import params
from btsee_lib.errors import ArtefactError, DataError
from btsee_lib.evaluation import BASELINE
from btsee_lib.experiment import current_experiment, repository_root
from btsee_lib.pipeline.readme import experiments
from btsee_lib.plots.explorer import experiment_numbers, read_page, write_page
from btsee_lib.store.results import load_results
from btsee_lib.trees import of_scheme

PAGE = Path("docs", "explorer.html")


def write_explorer() -> None:
    """Write the page anew; an experiment whose artefacts are not here stays on it as it stands there.

    Raises
    ------
    ArtefactError
        If there is no experiment to show.
    """
    page = repository_root() / PAGE
    on_page = {each["name"]: each for each in read_page(page)}
    found = []
    for home in experiments().values():
        with contextlib.chdir(home):
            name = current_experiment().profile or "main"
            try:
                found.append(numbers_here())
            except (ArtefactError, DataError) as problem:
                found += [on_page[name]] if name in on_page else []
                print(f"{name}: {'as it stood' if name in on_page else 'left out'}: {problem}")
    if not found:
        raise ArtefactError("the explorer has no experiment to show: run 'make repro' first")
    write_page(page, found)
    print(f"{PAGE}: {', '.join(each['title'] for each in found)}, {page.stat().st_size / 1e6:.1f} MB")


def numbers_here() -> dict:
    """Collect the numbers of the current experiment: the independent branches of its first seed."""
    results = load_results()
    tree = of_scheme(results.trees, BASELINE.training)[0]
    title = f"{params('data').name}, width {params('backbone').width}"
    return experiment_numbers(current_experiment().profile or "main", title, results, tree)
