"""Execute a notebook through papermill, and clean what changes between two equal runs."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
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

INLINE = "module://matplotlib_inline.backend_inline"  # with any other, executed notebooks hold no pictures
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
    os.environ[RECORDING] = "1"
    with same_parameters(name):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        print(f"{name}: running (its first cell tells how long that takes)", flush=True)
        execute(source, folder / source.name)


def run_solutions() -> None:
    """Execute the solutions of the exercises into ``reports/solutions``; they load what notebooks have made."""
    experiment = current_experiment()
    target = experiment.reports / "solutions"
    with same_parameters("solutions"):
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name, source in sources("solutions").items():
            if not (experiment.profile and name in MAIN_ONLY.values()):
                execute(source, target / source.name)


@contextmanager
def same_parameters(stage: str) -> Iterator[None]:
    """Check the parameters, and in the end that the file still says the same; then print how long it took.

    DVC reads it when a stage is done: it would put new parameters down beside results of the old ones.
    """
    check()
    path = current_experiment().parameters
    read, started = path.read_bytes(), time.perf_counter()
    yield
    if path.read_bytes() != read:
        raise ParameterError(f"params.yaml was changed while {stage} ran: run 'dvc repro' again")
    print(f"{stage}: {time.perf_counter() - started:.0f} s", flush=True)


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
        os.environ |= {"IPYTHONDIR": empty, "MATPLOTLIBRC": os.devnull, "MPLBACKEND": INLINE}
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def clean(notebook: "NotebookNode") -> "NotebookNode":
    """Remove what differs between two equal runs: times, random ids, progress bars, and where text was cut."""
    from nbconvert.preprocessors.coalescestreams import CoalesceStreamsPreprocessor  # it takes a while

    joined = CoalesceStreamsPreprocessor()
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:03d}"
        cell.metadata = {key: cell.metadata[key] for key in KEPT if cell.metadata.get(key)}
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            joined.preprocess_cell(cell, {}, number)
    return notebook
