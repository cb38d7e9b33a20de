"""Execute a notebook through papermill, and clean what changes between two equal runs."""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import TYPE_CHECKING

import psutil

from btsee_lib.errors import ParameterError
from btsee_lib.experiment import RECORDING, current_experiment
from btsee_lib.pipeline.limits import check
from btsee_lib.pipeline.profiles import MAIN_ONLY

if TYPE_CHECKING:
    from nbformat import NotebookNode

KEPT = ("tags", "jupyter", "slideshow")  # of a cell's metadata: what it is for, and how it is shown


def sources(folder: str = "notebooks") -> dict[str, Path]:
    """Return the notebooks of a folder of the repository, by name."""
    return {path.stem: path for path in sorted((current_experiment().root / folder).glob("*.ipynb"))}


def source_of(name: str) -> Path:
    """Return the file of a notebook.

    Raises
    ------
    ParameterError
        If there is no notebook of that name.
    """
    known = sources()
    if name not in known:
        raise ParameterError(f"no notebook '{name}' in notebooks/: use one of {', '.join(known)}")
    return known[name]


def run(name: str) -> None:
    """Execute ``notebooks/NAME.ipynb`` into the artefact folder ``reports/NAME``.

    Its kernel starts in the experiment's own folder of notebooks, from which it knows the experiment. The
    executed notebook is written only if every cell ran.

    Raises
    ------
    ParameterError
        If there is no such notebook, a parameter cannot be used, or the parameters were changed meanwhile.
    """
    source = source_of(name)
    folder = current_experiment().artifacts / "reports" / name
    started = time.perf_counter()
    os.environ[RECORDING] = "1"
    with same_parameters(name):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        print(f"{name}: running (its first cell tells how long that takes)", flush=True)
        execute(source, folder / source.name)
    note_time(name, time.perf_counter() - started)


def run_solutions() -> None:
    """Execute the solutions of the exercises into ``reports/solutions``; they load what notebooks have made."""
    experiment = current_experiment()
    target, started = experiment.reports / "solutions", time.perf_counter()
    with same_parameters("solutions"):
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name, source in sources("solutions").items():
            if not (experiment.profile and name in MAIN_ONLY.values()):
                execute(source, target / source.name)
    note_time("solutions", time.perf_counter() - started)


@contextmanager
def same_parameters(stage: str) -> Iterator[None]:
    """Check the parameters, and in the end that the file still says the same.

    DVC reads it when a stage is done: it would put new parameters down beside results of the old ones.
    """
    check()
    path = current_experiment().parameters
    read = path.read_bytes()
    yield
    if path.read_bytes() != read:
        raise ParameterError(f"params.yaml was changed while {stage} ran: run 'dvc repro' again")


def execute(source: Path, target: Path) -> None:
    """Execute a notebook in the experiment's own folder and write it, cleaned, if every cell ran."""
    # It would build a grammar of web addresses, for seconds, each time that nbformat is imported.
    sys.modules.setdefault("rfc3987_syntax", None)
    import nbformat
    import papermill
    from nbclient.exceptions import DeadKernelError

    start = current_experiment().home / "notebooks"
    start.mkdir(exist_ok=True)
    try:
        with nobodys_settings():
            settings = {"kernel_name": "python3", "progress_bar": False, "stderr_file": sys.stderr}
            notebook = interruptible(lambda: papermill.execute_notebook(source, None, cwd=start, **settings))
    except papermill.exceptions.PapermillExecutionError as problem:
        sys.exit(f"{source.stem}: cell {problem.exec_count} failed: {problem.ename}: {problem.evalue}")
    except DeadKernelError:
        sys.exit(f"{source.stem}: its kernel was killed, most likely for memory: close other programs")
    nbformat.write(clean(notebook), target)


def interruptible(function: Callable[[], "NotebookNode"]) -> "NotebookNode":
    """Call a function beside this thread: at Ctrl-C all processes that it started end, whatever they do."""
    answer: Future = Future()

    def call() -> None:
        try:
            answer.set_result(function())
        except BaseException as problem:
            answer.set_exception(problem)

    Thread(target=call, daemon=True).start()
    try:
        return answer.result()
    except KeyboardInterrupt:
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        raise


@contextmanager
def nobodys_settings() -> Iterator[None]:
    """Keep a user's own settings of matplotlib, and start-up files of IPython, out of the kernels meanwhile."""
    before = dict(os.environ)
    with TemporaryDirectory() as empty:
        os.environ |= {"IPYTHONDIR": empty, "MATPLOTLIBRC": os.devnull}
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def clean(notebook: "NotebookNode") -> "NotebookNode":
    """Remove what differs between two equal runs: times, random ids, and the progress bars on stderr."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:03d}"
        cell.metadata = {key: cell.metadata[key] for key in KEPT if cell.metadata.get(key)}
        if cell.cell_type == "code":
            cell.outputs = merge_streams(output for output in cell.outputs if output.get("name") != "stderr")
    return notebook


def merge_streams(outputs: Iterable["NotebookNode"]) -> list["NotebookNode"]:
    """Join consecutive pieces of printed text: where a kernel cuts them is chance."""
    merged: list[NotebookNode] = []
    for output in outputs:
        if merged and output.output_type == "stream" == merged[-1].output_type:
            merged[-1].text += output.text
        else:
            merged.append(output)
    return merged


def note_time(name: str, seconds: float) -> None:
    """Keep how long a notebook took, in a file that nothing depends on."""
    times = _times() | {name: round(seconds, 1)}
    partial = _times_file().with_suffix(f".{os.getpid()}.partial")
    partial.write_text(json.dumps(times, indent=1, sort_keys=True) + "\n")
    partial.replace(_times_file())
    print(f"{name}: {seconds:.0f} s", flush=True)


def print_times() -> None:
    """Say how long each notebook took when it last ran."""
    for name, seconds in _times().items():
        print(f"  {name:28} {seconds:6.0f} s")
    experiment = current_experiment()
    print(f"Results: {experiment.reports.relative_to(experiment.root)}/ (notebooks, figures, tables, model)")


def _times() -> dict[str, float]:
    """Read the times; none from a file that is missing or damaged, for nothing depends on it."""
    try:
        read = dict(json.loads(_times_file().read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return {}
    return {name: seconds for name, seconds in read.items() if isinstance(seconds, int | float)}


def _times_file() -> Path:
    return current_experiment().artifacts / "times.json"
