import copy
import os
import signal
import subprocess
import sys
import time

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from btsee_lib.errors import ParameterError
from btsee_lib.pipeline import notebooks


def printed(text, name="stdout"):
    return new_output("stream", name=name, text=text)


def executed_notebook(seconds="0.123", pieces=("one\n", "two\n")):
    """A notebook as papermill leaves it: with times, random ids, a progress bar, and text in pieces."""
    outputs = [printed(pieces[0]), printed(f"50 % {seconds}", "stderr"), *map(printed, pieces[1:])]
    outputs.append(new_output("execute_result", data={"text/plain": "3"}, execution_count=2))
    outputs.append(printed("three\n"))
    cells = [
        new_markdown_cell("# Title"),
        new_code_cell(
            "x = 1", metadata={"tags": ["parameters"], "slideshow": {"slide_type": "skip"}}, execution_count=1
        ),
        new_code_cell("x = 2", execution_count=2),
        new_code_cell("print(x)", execution_count=3, outputs=outputs),
    ]
    for cell in cells:
        cell.metadata["papermill"] = {"duration": seconds}
        cell.metadata["execution"] = {"iopub.status.busy": seconds}
    return new_notebook(
        cells=cells,
        metadata={"papermill": {"duration": seconds}, "kernelspec": {"name": "x", "display_name": seconds}},
    )


def as_text(notebook):
    return nbformat.writes(notebooks.clean(copy.deepcopy(notebook)))


def test_two_equal_runs_are_cleaned_to_the_same_text():
    first = executed_notebook("0.1", ("one\n", "two\n"))
    second = executed_notebook("9.9", ("o", "ne\ntw", "o\n"))
    assert nbformat.writes(first) != nbformat.writes(second)
    assert as_text(first) == as_text(second)
    assert as_text(first) != as_text(executed_notebook("0.1", ("one\n", "three\n")))


def test_a_cleaned_notebook_is_valid_and_stays_as_it_is():
    cleaned = notebooks.clean(executed_notebook())
    nbformat.validate(cleaned)
    assert as_text(cleaned) == nbformat.writes(cleaned)


def test_cleaning_numbers_the_cells_and_keeps_their_own_tags():
    cells = notebooks.clean(executed_notebook()).cells
    assert [cell["id"] for cell in cells] == ["cell-000", "cell-001", "cell-002", "cell-003"]
    assert [cell.metadata for cell in cells] == [
        {},
        {"tags": ["parameters"], "slideshow": {"slide_type": "skip"}},
        {},
        {},
    ]


def test_cleaning_keeps_sources_counts_and_results():
    before, after = executed_notebook(), notebooks.clean(executed_notebook())
    assert [cell.source for cell in after.cells] == [cell.source for cell in before.cells]
    counts = [cell.execution_count for cell in after.cells if cell.cell_type == "code"]
    assert counts == [1, 2, 3]
    outputs = after.cells[-1].outputs
    assert [output.output_type for output in outputs] == ["stream", "execute_result", "stream"]
    assert [outputs[0].text, outputs[2].text] == ["one\ntwo\n", "three\n"]
    assert all(output.get("name") != "stderr" for output in outputs)


def test_printed_text_is_joined_only_where_it_is_consecutive():
    figure = new_output("display_data", data={"text/plain": "a figure"})
    outputs = [figure, printed("a"), printed("b"), figure, figure, printed("c")]
    cell = new_code_cell(outputs=outputs)
    (cell,) = notebooks.clean(new_notebook(cells=[cell, new_code_cell()])).cells[:1]
    merged = cell.outputs
    assert [output.get("text") for output in merged] == [None, "ab", None, None, "c"]


@pytest.mark.parametrize("name", ["../backbone", "02", ""])
def test_a_notebook_that_does_not_exist_is_refused_by_name_before_anything_is_removed(name, workspace):
    (workspace / "notebooks").mkdir()
    (workspace / "notebooks" / "02_backbone.ipynb").touch()
    kept = workspace / "artifacts" / "backbone" / "backbone.pt"
    kept.parent.mkdir(parents=True)
    kept.touch()
    with pytest.raises(ParameterError, match=r"no notebook .* use one of 02_backbone"):
        notebooks.run(name)
    assert kept.is_file()


@pytest.fixture
def executed(repository, workspace, monkeypatch):
    """A repository of two solutions; returns its root and the list of those that are executed, and where to."""
    for name in ("02_backbone", "08_paper_scale"):
        source = workspace / "solutions" / f"{name}.ipynb"
        source.parent.mkdir(exist_ok=True)
        nbformat.write(new_notebook(), source)
    (workspace / "artifacts").mkdir()
    (workspace / "params.yaml").write_text((repository / "params.yaml").read_text())
    calls = []
    monkeypatch.setattr(notebooks, "execute", lambda source, target: calls.append((source, target)))
    return workspace, calls


def test_solutions_are_executed_into_a_folder_that_holds_nothing_older(executed):
    root, calls = executed
    (root / "reports" / "solutions").mkdir(parents=True)
    (root / "reports" / "solutions" / "old.ipynb").touch()
    notebooks.run_solutions()
    names = ("02_backbone.ipynb", "08_paper_scale.ipynb")
    assert calls == [(root / "solutions" / name, root / "reports" / "solutions" / name) for name in names]
    assert list((root / "reports" / "solutions").iterdir()) == []


def test_a_profile_has_no_solutions_of_notebooks_of_the_main_experiment_alone(executed, monkeypatch):
    root, calls = executed
    home = root / "reports" / "cifar-10"
    home.mkdir(parents=True)
    (root / "artifacts" / "cifar-10").mkdir()
    (home / "dvc.yaml").touch()
    (home / "params.yaml").write_text((root / "params.yaml").read_text())
    monkeypatch.chdir(home)
    notebooks.run_solutions()
    assert [target for _, target in calls] == [home / "solutions" / "02_backbone.ipynb"]


@pytest.fixture
def write_notebook(workspace):
    """Write a notebook of one cell; returns its path."""

    def write(code):
        path = workspace / "notebooks" / "01_data.ipynb"
        path.parent.mkdir(exist_ok=True)
        nbformat.write(new_notebook(cells=[new_code_cell(code)]), path)
        return path

    return write


def test_parameters_that_are_changed_during_a_run_end_it(repository, workspace, write_notebook, monkeypatch):
    path = workspace / "params.yaml"
    path.write_text((repository / "params.yaml").read_text())
    write_notebook("")

    def change(source, target):
        path.write_text(path.read_text().replace("learning_rate: 0.2", "learning_rate: 0.1"))

    monkeypatch.setattr(notebooks, "execute", change)
    with pytest.raises(ParameterError, match="changed while 01_data ran: run 'dvc repro' again"):
        notebooks.run("01_data")


def test_a_users_own_settings_do_not_reach_a_notebook(workspace, write_notebook, monkeypatch):
    start_up = workspace / "ipython" / "profile_default" / "startup"
    start_up.mkdir(parents=True)
    (start_up / "mine.py").write_text("leaked = 1")
    (workspace / "matplotlib").mkdir()
    (workspace / "matplotlib" / "matplotlibrc").write_text("font.size: 33")
    monkeypatch.setenv("IPYTHONDIR", str(workspace / "ipython"))
    monkeypatch.setenv("MPLCONFIGDIR", str(workspace / "matplotlib"))
    monkeypatch.setenv("MPLBACKEND", "agg")
    told = "print(plt.rcParams['font.size'], 'leaked' in globals())"
    source = write_notebook(f"from matplotlib import pyplot as plt\nplt.plot([1, 2])\nplt.show()\n{told}")
    notebooks.execute(source, workspace / "executed.ipynb")
    (cell,) = nbformat.read(workspace / "executed.ipynb", as_version=4).cells
    picture, printed_text = cell.outputs
    assert "image/png" in picture.data
    assert printed_text.text == "10.0 False\n"
    assert os.environ["IPYTHONDIR"] == str(workspace / "ipython")


def test_a_kernel_that_is_killed_is_told_in_a_sentence_and_leaves_nothing(workspace, write_notebook):
    source = write_notebook("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(SystemExit, match="01_data: its kernel was killed, most likely for memory"):
        notebooks.execute(source, workspace / "executed.ipynb")
    assert not (workspace / "executed.ipynb").exists()


def test_parameters_that_are_changed_while_solutions_run_end_them(executed, monkeypatch):
    root, _ = executed
    monkeypatch.setattr(notebooks, "execute", lambda *_: (root / "params.yaml").open("a").write("\n"))
    with pytest.raises(ParameterError, match="changed while solutions ran"):
        notebooks.run_solutions()


def test_ctrl_c_ends_a_run_at_once_with_one_line_and_leaves_no_process(repository, workspace, write_notebook):
    (workspace / "params.yaml").write_text((repository / "params.yaml").read_text())
    busy = "import pathlib, time\npathlib.Path('../busy').touch()\nwhile True:\n    time.sleep(1)"
    write_notebook(busy)
    command = [sys.executable, "-m", "btsee_lib.pipeline", "run", "01_data"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(repository)}, **pipes)
    while not (workspace / "busy").exists() and running.poll() is None:
        time.sleep(0.1)
    started, children = time.monotonic(), psutil.Process(running.pid).children(recursive=True)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert time.monotonic() - started < 5
    assert errors.splitlines()[-1] == "run was interrupted: type the same again; what was finished is kept"
    assert "Traceback" not in errors
    assert children
    assert not psutil.wait_procs(children, timeout=5)[1]
