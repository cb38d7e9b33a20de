"""What a stage of ``dvc.yaml`` runs: a notebook through papermill, and the publishing of results.

``python -m btsee_lib.pipeline run 02_backbone`` executes the notebook and cleans what changes
between two equal runs. ``... publish 02_backbone`` copies its tables and the executed notebook into
``reports/`` and draws the figures from the tables. ``... figures`` draws them all again. What only
one of these needs is imported there: a stage starts several times, and the imports take seconds.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import pandas as pd

from btsee_lib.store.artefacts import ArtefactError, folder_of
from btsee_lib.config import ParameterError, check_params, params, repository_root
from btsee_lib.pipeline.profiles import overrides, read_profile
from btsee_lib.store.reports import METRICS, RECORDING, read_numbers
from btsee_lib.data.splits import DataError


def run(name: str) -> None:
    """Execute ``notebooks/NAME.ipynb`` into ``artifacts/reports/NAME/NAME.ipynb``.

    The executed notebook gets its final name only if every cell ran.
    """
    import papermill

    check_params()
    folder = folder_of("reports") / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    executed = folder / f"{name}.ipynb"
    partial = folder / f".{name}.partial.ipynb"
    started = time.perf_counter()
    os.environ[RECORDING] = "1"
    print(f"{name}: running (its first cell tells how long that takes)", flush=True)
    try:
        papermill.execute_notebook(
            repository_root() / "notebooks" / f"{name}.ipynb",
            partial,
            cwd=repository_root() / "notebooks",
            kernel_name="python3",
            progress_bar=False,
            stderr_file=sys.stderr,
        )
    except papermill.exceptions.PapermillExecutionError as problem:
        partial.unlink(missing_ok=True)
        sys.exit(f"{name}: cell {problem.exec_count} failed: {problem.ename}: {problem.evalue}")
    notebook = nbformat.read(partial, as_version=4)
    nbformat.write(clean(notebook), executed)
    partial.unlink()
    note_time(name, time.perf_counter() - started)


def clean(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Remove what differs between two equal runs: times, random ids, and the progress bars on stderr."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:03d}"
        tags = [tag for tag in cell.metadata.get("tags", []) if tag != "injected-parameters"]
        cell.metadata = {"tags": tags} if tags else {}
        if cell.cell_type == "code":
            cell.outputs = merge_streams(output for output in cell.outputs if output.get("name") != "stderr")
    return notebook


def merge_streams(outputs: Iterable[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Join consecutive pieces of printed text: where a kernel cuts them is chance."""
    merged: list[nbformat.NotebookNode] = []
    for output in outputs:
        if merged and output.output_type == "stream" == merged[-1].output_type:
            merged[-1].text += output.text
        else:
            merged.append(output)
    return merged


def note_time(name: str, seconds: float) -> None:
    """Keep how long a notebook took, in a file that nothing depends on."""
    path = _times_file()
    times = json.loads(path.read_text()) if path.is_file() else {}
    times[name] = round(seconds, 1)
    path.write_text(json.dumps(times, indent=1, sort_keys=True) + "\n")
    print(f"{name}: {seconds:.0f} s", flush=True)


def publish(name: str) -> None:
    """Copy what NAME made (tables, executed notebook, model) into ``reports/`` and draw its figures."""
    source, target = folder_of("reports") / name, repository_root() / "reports"
    for folder in ("notebooks", "tables", "figures"):
        (target / folder).mkdir(parents=True, exist_ok=True)
    _copy(source / f"{name}.ipynb", target / "notebooks" / f"{name}.ipynb")
    for table in sorted(source.glob("*.csv")):
        _copy(table, target / "tables" / table.name)
        draw(table.stem)
    if (source / "model").is_dir():
        shutil.rmtree(target / "model", ignore_errors=True)
        shutil.copytree(source / "model", target / "model")


def publish_metrics(names: Sequence[str]) -> None:
    """Merge the numbers of notebooks into ``reports/metrics.json``, of one into ``metrics_NAME.json``."""
    text = json.dumps(read_numbers(folder_of("reports"), names), indent=1, sort_keys=True) + "\n"
    path = repository_root() / "reports" / (METRICS if len(names) > 1 else f"metrics_{names[0]}.json")
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def draw(table: str) -> bool:
    """Draw ``reports/figures/TABLE.png`` from ``reports/tables/TABLE.csv``, if it has a figure."""
    from matplotlib import pyplot as plt

    from btsee_lib.plots.figures import FIGURES

    function = FIGURES.get(table)
    if function is None:
        return False
    reports = repository_root() / "reports"
    figure = function(pd.read_csv(reports / "tables" / f"{table}.csv"))
    (reports / "figures").mkdir(exist_ok=True)
    # No software version or date in the file: equal tables give equal bytes.
    figure.savefig(reports / "figures" / f"{table}.png", metadata={"Software": None})
    plt.close(figure)
    return True


def draw_all() -> None:
    """Draw every figure again from the tables in ``reports/tables``."""
    drawn = [
        path.stem
        for path in sorted((repository_root() / "reports" / "tables").glob("*.csv"))
        if draw(path.stem)
    ]
    print(f"drew {len(drawn)} figures into reports/figures: {', '.join(drawn)}")


def fetch_data() -> None:
    """Fetch and verify the data set that ``params.yaml`` names."""
    from btsee_lib.store.results import load_data

    splits = load_data()
    sizes = ", ".join(f"{len(getattr(splits, name)):,} {name}" for name in ("train", "valid", "test"))
    print(f"data: {sizes}, from {splits.source}")


def make_backbone() -> None:
    """Make the backbone and its features: what ``torchrun`` starts, on one machine or on several."""
    from tqdm import tqdm

    from btsee_lib.store.results import make_backbone_and_features

    first = os.environ.get("RANK", "0") == "0"
    make_backbone_and_features(tqdm if first else iter)


def make_scaling() -> None:
    """Measure how cost grows, unless that has been done before, and draw it."""
    from tqdm import tqdm

    from btsee_lib.studies import scaling
    from btsee_lib.store import results as stored

    path = repository_root() / "reports" / "tables" / "scaling.csv"
    if path.is_file():
        print("scaling: measured before, the table stays; 'make scale' measures again")
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder_of("scaling").mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder_of("scaling")) as folder:
            table = scaling.measure_scaling(
                stored.load_data(), params("scale"), params("backbone").width, Path(folder), tqdm
            )
        table.to_csv(path, index=False, float_format="%.6g")
    draw("scaling")


def make_full_width() -> None:
    """Run the pipeline at full width where there is a GPU, into ``reports/full_width/``."""
    from btsee_lib import full_width

    full_width.run_full_width(run, full_width.gpu_name())


def print_overrides(profile: str) -> None:
    """Print a profile as arguments of ``dvc exp run``."""
    print(" ".join(f"-S {each}" for each in overrides(read_profile(profile)[0])))


def print_times() -> None:
    """Say how long each notebook took when it last ran."""
    times = json.loads(_times_file().read_text()) if _times_file().is_file() else {}
    for name, seconds in times.items():
        print(f"  {name:28} {seconds:6.0f} s")
    print("Results: reports/notebooks, reports/figures, reports/tables, reports/model, reports/metrics.json")


def _times_file() -> Path:
    return repository_root() / "artifacts" / "times.json"


def _copy(source: Path, target: Path) -> None:
    partial = target.with_name(f".{target.name}.partial")
    shutil.copyfile(source, partial)
    partial.replace(target)


ACTIONS = {
    "check": check_params,
    "data": fetch_data,
    "backbone": make_backbone,
    "full_width": make_full_width,
    "scaling": make_scaling,
    "figures": draw_all,
    "times": print_times,
}


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("run", "publish", "metrics", "overrides", *ACTIONS))
    parser.add_argument("notebooks", nargs="*", help="names such as 02_backbone; a profile's name")
    arguments = parser.parse_args()
    if arguments.action in ACTIONS:
        ACTIONS[arguments.action]()
    elif not arguments.notebooks:
        parser.error(f"{arguments.action} needs the name of a notebook, such as 02_backbone")
    elif arguments.action == "metrics":
        publish_metrics(arguments.notebooks)
    else:
        for name in arguments.notebooks:
            {"run": run, "publish": publish, "overrides": print_overrides}[arguments.action](name)


def main_with_clear_errors() -> None:
    """Run ``main``; a problem that has a remedy ends in its sentence, without a trace."""
    try:
        main()
    except (ParameterError, DataError, ArtefactError, OSError) as problem:
        sys.exit(f"error: {problem}")


if __name__ == "__main__":
    main_with_clear_errors()
