import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_notebook

from btsee_lib.pipeline import __main__ as command_line
from btsee_lib.pipeline import publishing
from btsee_lib.plots import FIGURES
from btsee_lib.store import claims_of_profiles
from btsee_lib.store.reports import conditions

NAME = "02_backbone"


@pytest.fixture
def made(workspace):
    """A repository in which the pipeline has run one notebook."""
    folder = workspace / "artifacts" / "reports" / NAME
    folder.mkdir(parents=True)
    nbformat.write(new_notebook(), folder / f"{NAME}.ipynb")
    (folder / "metrics.json").write_text('{"b": 2, "a": null}')
    rows = [{"stage": b, "macs": 10 * b, "parameters": b} for b in (1, 2, 3, 4)]
    pd.DataFrame(rows).to_csv(folder / "stage_costs.csv", index=False)
    pd.DataFrame({"a": [1]}).to_csv(folder / "no_figure.csv", index=False)
    (workspace / "notebooks").mkdir()
    (workspace / "notebooks" / f"{NAME}.ipynb").touch()
    return workspace


def published(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_publishing_copies_notebook_and_tables_and_draws_the_figures(made):
    publishing.publish([NAME])
    found, source = published(made / "reports"), published(made / "artifacts" / "reports" / NAME)
    assert sorted(found) == [
        "figures/stage_costs.png",
        f"metrics_{NAME}.json",
        f"notebooks/{NAME}.ipynb",
        "tables/no_figure.csv",
        "tables/stage_costs.csv",
    ]
    assert found[f"notebooks/{NAME}.ipynb"] == source[f"{NAME}.ipynb"]
    for name in ("no_figure.csv", "stage_costs.csv"):
        assert found[f"tables/{name}"] == source[name]
    assert found["figures/stage_costs.png"].startswith(b"\x89PNG")


def test_publishing_again_gives_the_same_bytes(made):
    publishing.publish([NAME])
    first = published(made / "reports")
    publishing.publish([NAME])
    assert published(made / "reports") == first


def test_a_changed_table_replaces_the_published_one_and_its_figure(made):
    publishing.publish([NAME])
    first = published(made / "reports")
    table = made / "artifacts" / "reports" / NAME / "stage_costs.csv"
    table.write_text(table.read_text().replace("40", "80"))
    publishing.publish([NAME])
    changed = {name for name, content in published(made / "reports").items() if content != first[name]}
    assert changed == {"figures/stage_costs.png", "tables/stage_costs.csv"}


def test_all_figures_are_drawn_again_from_the_published_tables(made, capsys):
    publishing.publish([NAME])
    figure = made / "reports" / "figures" / "stage_costs.png"
    before = figure.read_bytes()
    figure.unlink()
    figure.parent.rmdir()
    publishing.draw_all()
    assert figure.read_bytes() == before
    assert capsys.readouterr().out == "drew 1 figures: stage_costs\n"


def test_a_table_without_a_figure_draws_nothing(made):
    assert publishing.draw("no_figure") is False
    assert not (made / "reports").exists()


def with_numbers(root, name, text):
    (root / "notebooks" / f"{name}.ipynb").touch()
    folder = root / "artifacts" / "reports" / name
    folder.mkdir()
    (folder / "metrics.json").write_text(text)
    nbformat.write(new_notebook(), folder / f"{name}.ipynb")


def test_the_numbers_of_all_notebooks_are_merged_but_for_those_of_the_machine(made):
    with_numbers(made, "03_boosted_branches", '{"c": 0.5}')
    with_numbers(made, "10_time", '{"d": 1}')
    publishing.publish()
    assert json.loads((made / "reports" / "metrics_10_time.json").read_text()) == {"d": 1}
    text = (made / "reports" / "metrics.json").read_text()
    assert json.loads(text) == {"a": None, "b": 2, "c": 0.5}
    assert text.index('"a"') < text.index('"b"') < text.index('"c"')


def test_the_claims_of_a_profile_are_laid_where_the_main_experiment_finds_them(made, monkeypatch):
    home = made / "reports" / "small"
    home.mkdir(parents=True)
    (home / "dvc.yaml").touch()
    folder = made / "artifacts" / "small" / "reports" / NAME
    folder.mkdir(parents=True)
    nbformat.write(new_notebook(), folder / f"{NAME}.ipynb")
    pd.DataFrame({"claim": ["1 ..."]}).to_csv(folder / "claims.csv", index=False)
    monkeypatch.chdir(home)
    publishing.publish()
    shared = made / "reports" / "experiments" / "small.csv"
    assert shared.read_bytes() == (home / "tables" / "claims.csv").read_bytes()
    assert claims_of_profiles() == {}
    monkeypatch.chdir(made)
    assert list(claims_of_profiles()) == ["small"]


def test_a_model_is_published_whole_and_replaces_the_one_before(made):
    source = made / "artifacts" / "reports" / NAME / "model"
    source.mkdir()
    (source / "stage_1.onnx").write_bytes(b"one")
    publishing.publish([NAME])
    (source / "stage_1.onnx").rename(source / "stage_1_2.onnx")
    publishing.publish([NAME])
    assert [path.name for path in (made / "reports" / "model").iterdir()] == ["stage_1_2.onnx"]


def test_an_action_needs_a_name(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["pipeline", "run"])
    with pytest.raises(SystemExit):
        command_line.main()
    assert "run needs a name" in capsys.readouterr().err


def test_what_does_not_exist_cannot_be_published(workspace, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pipeline", "publish", NAME])
    with pytest.raises(SystemExit, match=f"error: no notebook '{NAME}' in notebooks/"):
        command_line.main()
    assert published(workspace / "reports") == {}


def test_figures_of_ones_own_are_drawn_by_the_name_of_their_table(made, monkeypatch, tmp_path):
    (tmp_path / "own_figures.py").write_text(
        "from matplotlib import pyplot as plt\n"
        "from btsee_lib.plots.style import drawn_from_table\n\n\n"
        "@drawn_from_table\ndef no_figure(table):\n    return plt.figure()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(FIGURES, "no_figure", None)
    monkeypatch.setattr(sys, "argv", ["pipeline", "publish", NAME, "--figures", "own_figures"])
    command_line.main()
    assert (made / "reports" / "figures" / "no_figure.png").is_file()


def test_an_action_imports_nothing_that_another_one_needs():
    code = "import sys; from btsee_lib.pipeline import __main__; __main__.main(); print('torch' in sys.modules)"
    start = [sys.executable, "-c", code, "check"]
    done = subprocess.run(start, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout.endswith("False\n")


def test_threads_and_instructions_are_published_beside_all_results(made):
    publishing.publish()
    found = pd.read_csv(made / "reports" / "tables" / "conditions.csv", dtype=str)
    assert dict(zip(found["name"], found["value"], strict=True)) == conditions()
