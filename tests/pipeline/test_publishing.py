import copy
import json
import sys

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from btsee_lib.pipeline import __main__ as pipeline

NAME = "02_backbone"


def printed(text, name="stdout"):
    return new_output("stream", name=name, text=text)


def executed_notebook(seconds="0.123", pieces=("one\n", "two\n")):
    """A notebook as papermill leaves it: with times, random ids, a progress bar, and text in pieces."""
    outputs = [printed(pieces[0]), printed(f"50 % {seconds}", "stderr"), *map(printed, pieces[1:])]
    outputs.append(new_output("execute_result", data={"text/plain": "3"}, execution_count=2))
    outputs.append(printed("three\n"))
    cells = [
        new_markdown_cell("# Title"),
        new_code_cell("x = 1", metadata={"tags": ["parameters"]}, execution_count=1),
        new_code_cell("x = 2", metadata={"tags": ["injected-parameters"]}, execution_count=2),
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
    return nbformat.writes(pipeline.clean(copy.deepcopy(notebook)))


def test_two_equal_runs_are_cleaned_to_the_same_text():
    first = executed_notebook("0.1", ("one\n", "two\n"))
    second = executed_notebook("9.9", ("o", "ne\ntw", "o\n"))
    assert nbformat.writes(first) != nbformat.writes(second)
    assert as_text(first) == as_text(second)
    assert as_text(first) != as_text(executed_notebook("0.1", ("one\n", "three\n")))


def test_a_cleaned_notebook_is_valid_and_stays_as_it_is():
    cleaned = pipeline.clean(executed_notebook())
    nbformat.validate(cleaned)
    assert as_text(cleaned) == nbformat.writes(cleaned)


def test_cleaning_numbers_the_cells_and_keeps_their_own_tags():
    cells = pipeline.clean(executed_notebook()).cells
    assert [cell["id"] for cell in cells] == ["cell-000", "cell-001", "cell-002", "cell-003"]
    assert [cell.metadata for cell in cells] == [{}, {"tags": ["parameters"]}, {}, {}]


def test_cleaning_keeps_sources_counts_and_results():
    before, after = executed_notebook(), pipeline.clean(executed_notebook())
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
    merged = pipeline.merge_streams(outputs)
    assert [output.get("text") for output in merged] == [None, "ab", None, None, "c"]
    assert pipeline.merge_streams([]) == []


@pytest.fixture
def made(workspace):
    """A repository in which the pipeline has run one notebook."""
    folder = workspace / "artifacts" / "reports" / NAME
    folder.mkdir(parents=True)
    nbformat.write(executed_notebook(), folder / f"{NAME}.ipynb")
    (folder / "metrics.json").write_text('{"b": 2, "a": null}')
    rows = [{"stage": b, "macs": 10 * b, "parameters": b} for b in (1, 2, 3, 4)]
    pd.DataFrame(rows).to_csv(folder / "stage_costs.csv", index=False)
    pd.DataFrame({"a": [1]}).to_csv(folder / "no_figure.csv", index=False)
    return workspace


def published(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_publishing_copies_notebook_and_tables_and_draws_the_figures(made):
    pipeline.publish(NAME)
    found, source = published(made / "reports"), published(made / "artifacts" / "reports" / NAME)
    assert sorted(found) == [
        "figures/stage_costs.png",
        f"notebooks/{NAME}.ipynb",
        "tables/no_figure.csv",
        "tables/stage_costs.csv",
    ]
    assert found[f"notebooks/{NAME}.ipynb"] == source[f"{NAME}.ipynb"]
    for name in ("no_figure.csv", "stage_costs.csv"):
        assert found[f"tables/{name}"] == source[name]
    assert found["figures/stage_costs.png"].startswith(b"\x89PNG")


def test_publishing_again_gives_the_same_bytes(made):
    pipeline.publish(NAME)
    first = published(made / "reports")
    pipeline.publish(NAME)
    assert published(made / "reports") == first


def test_a_changed_table_replaces_the_published_one_and_its_figure(made):
    pipeline.publish(NAME)
    first = published(made / "reports")
    table = made / "artifacts" / "reports" / NAME / "stage_costs.csv"
    table.write_text(table.read_text().replace("40", "80"))
    pipeline.publish(NAME)
    changed = {name for name, content in published(made / "reports").items() if content != first[name]}
    assert changed == {"figures/stage_costs.png", "tables/stage_costs.csv"}


def test_all_figures_are_drawn_again_from_the_published_tables(made, capsys):
    pipeline.publish(NAME)
    figure = made / "reports" / "figures" / "stage_costs.png"
    before = figure.read_bytes()
    figure.unlink()
    figure.parent.rmdir()
    pipeline.draw_all()
    assert figure.read_bytes() == before
    assert capsys.readouterr().out == "drew 1 figures into reports/figures: stage_costs\n"


def test_a_table_without_a_figure_draws_nothing(made):
    assert pipeline.draw("no_figure") is False
    assert not (made / "reports").exists()


def test_the_numbers_of_the_named_notebooks_are_merged(made):
    pipeline.publish(NAME)
    other = made / "artifacts" / "reports" / "03_boosted_branches"
    other.mkdir()
    (other / "metrics.json").write_text('{"c": 0.5}')
    later = made / "artifacts" / "reports" / "06_deployment"
    later.mkdir()
    (later / "metrics.json").write_text('{"d": 1}')
    pipeline.publish_metrics([NAME, "03_boosted_branches"])
    pipeline.publish_metrics(["06_deployment"])
    assert json.loads((made / "reports" / "metrics_06_deployment.json").read_text()) == {"d": 1}
    text = (made / "reports" / "metrics.json").read_text()
    assert json.loads(text) == {"a": None, "b": 2, "c": 0.5}
    assert text.index('"a"') < text.index('"b"') < text.index('"c"')


def test_a_model_is_published_whole_and_replaces_the_one_before(made):
    source = made / "artifacts" / "reports" / NAME / "model"
    source.mkdir()
    (source / "stage_1.onnx").write_bytes(b"one")
    pipeline.publish(NAME)
    (source / "stage_1.onnx").rename(source / "stage_1_2.onnx")
    pipeline.publish(NAME)
    assert [path.name for path in (made / "reports" / "model").iterdir()] == ["stage_1_2.onnx"]


def test_an_action_on_notebooks_needs_a_name(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["pipeline", "metrics"])
    with pytest.raises(SystemExit):
        pipeline.main()
    assert "metrics needs the name of a notebook" in capsys.readouterr().err


def test_what_has_not_been_run_cannot_be_published(workspace, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pipeline", "publish", NAME])
    with pytest.raises(SystemExit) as stopped:
        pipeline.main_with_clear_errors()
    assert str(stopped.value).startswith("error: ")
    assert f"{NAME}.ipynb" in str(stopped.value)
    assert published(workspace / "reports") == {}


def test_times_are_kept_and_printed(workspace, capsys):
    (workspace / "artifacts").mkdir()
    pipeline.note_time("b", 12.34)
    pipeline.note_time("a", 100)
    pipeline.note_time("b", 7)
    assert json.loads((workspace / "artifacts" / "times.json").read_text()) == {"a": 100, "b": 7}
    capsys.readouterr()
    pipeline.print_times()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:2]] == [["a", "100", "s"], ["b", "7", "s"]]
