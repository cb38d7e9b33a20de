import itertools
import json
import re

import pandas as pd
import pytest
import torch
from browser import found_in_browser, needs_browser

from btsee_lib.boosting import configurations
from btsee_lib.calibration import CALIBRATIONS
from btsee_lib.cost import CostModel
from btsee_lib.decisions import run_simulation
from btsee_lib.evaluation import Calibrator
from btsee_lib.exit_rules import EXIT_RULES
from btsee_lib.plots.explorer import HERE, MarginExplorer, experiment_numbers, write_page
from btsee_lib.store.results import Results
from btsee_lib.studies.promises import check_promises

# Runs each case [experiment, settings] and returns everything that the library can be compared with.
RUN_ALL = """
const { experiments, cases } = JSON.parse(document.getElementById("cases").textContent);
const decoded = experiments.map(decode);
return cases.map(([experiment, settings]) => {
  const { thresholds, exits, answers, ...rest } = run(decoded[experiment], settings);
  const rows = thresholds.map((row) => row.map((value) => (value === Infinity ? null : value)));
  return { ...rest, thresholds: rows, exits: [...exits], answers: [...answers] };
});"""


@pytest.fixture(scope="module")
def results(splits, backbone, features, trees, terms, branches):
    cost = CostModel.measure(backbone, branches, splits.test.images.shape[1:])
    return Results(splits, backbone, features, trees, cost, terms)


def run_in_browser(folder, experiments, cases):
    """Decide cases, each the position of an experiment and its settings, by ``explorer.js``."""
    content = json.dumps({"experiments": experiments, "cases": cases})
    page = f'<meta charset="utf-8"><script type="application/json" id="cases">{content}</script>'
    return (
        found_in_browser(folder, page, "") if not cases else found_in_browser(folder, page, module() + RUN_ALL)
    )


def module():
    """The module's text as statements, without its exports."""
    text = re.sub(r"^export (function|const)", r"\1", (HERE / "explorer.js").read_text(), flags=re.MULTILINE)
    return text.replace("export default", "const widget =")


def settings(rule, calibration, knobs):
    return {"rule": rule, "calibration": calibration, "knobs": list(knobs)}


def assert_equal_to_the_library(found, results, tree, asked):
    rule = EXIT_RULES[asked["rule"]]
    calibrator = Calibrator(tree, results.features, results.terms, rule)
    outputs, thresholds = calibrator.calibrated(asked["knobs"], asked["calibration"])
    in_browser = [[torch.inf if value is None else value for value in row] for row in found["thresholds"]]
    assert torch.equal(torch.tensor(in_browser, dtype=torch.float64), thresholds.double())
    expected = run_simulation(*outputs["test"], results.features["test"], thresholds, results.cost)
    assert found["exits"] == expected.exits.exit.tolist()
    assert found["answers"] == expected.exits.label.tolist()
    summary = expected.summary()
    for name in ("accuracy", "drop", "reduction"):
        assert found[name] == summary[name], name


@needs_browser
def test_independent_branches_of_every_configuration_are_decided_as_by_the_library(
    results, boosting_parameters, tmp_path
):
    tree = results.trees[0]
    asked = [
        *(
            settings("CPM", *each)
            for each in itertools.product(CALIBRATIONS, configurations(boosting_parameters))
        ),
        *(
            settings("confidence", each, knobs)
            for each in CALIBRATIONS
            for knobs in ((0.9, 0.9, 0.9), (0.5, 0.8, 0.99))
        ),
    ]
    found = run_in_browser(
        tmp_path, [experiment_numbers("small", "Small", results, tree)], [[0, each] for each in asked]
    )
    for one, case in zip(found, asked, strict=True):
        assert_equal_to_the_library(one, results, tree, case)
    assert len({tuple(one["exits"]) for one in found}) > 32, "the cases differ"


@needs_browser
def test_boosted_branches_of_every_configuration_are_decided_as_by_the_library(
    results, boosting_parameters, tmp_path, monkeypatch
):
    monkeypatch.setattr("btsee_lib.plots.explorer.THUMBNAILS", 30)  # 64 pages of pictures decide nothing
    tree = results.trees[1]
    margins = configurations(boosting_parameters)
    experiments = [experiment_numbers("small", "Small", results, tree, each) for each in margins]
    asked = [settings("CPM", "survivors", each) for each in margins]
    found = run_in_browser(tmp_path, experiments, [list(each) for each in enumerate(asked)])
    for one, case in zip(found, asked, strict=True):
        assert_equal_to_the_library(one, results, tree, case)


@needs_browser
def test_promises_are_judged_as_by_the_library(results, boosting_parameters, tmp_path):
    tree, margins = results.trees[0], (-0.05, 0.0, -0.05)
    asked = [[0, settings("CPM", calibration, margins)] for calibration in CALIBRATIONS]
    found = run_in_browser(tmp_path, [experiment_numbers("small", "Small", results, tree)], asked)
    table = check_promises([tree], results.features, boosting_parameters, [margins]).table
    for one, calibration in zip(found, CALIBRATIONS, strict=True):
        rows = {
            (branch, c): row
            for branch, promises in enumerate(one["promises"], start=1)
            for c, row in enumerate(promises)
            if row["exits"]
        }
        mine = table[table["calibration"] == calibration]
        assert len(mine) == len(rows) > 10
        for row in mine.to_dict("records"):
            in_browser = rows[row["branch"], row["class_number"]]
            for name in ("bar", "exits", "precision", "low", "high"):
                assert in_browser[name] == pytest.approx(row[name], abs=1e-12), name
            assert (in_browser["state"] == "broken") == row["broken"]
            assert (in_browser["state"] == "kept") == (row["precision"] >= row["bar"])


@pytest.fixture(scope="module")
def published(repository):
    """The page in ``docs/``, and the numbers of the experiments in it, by their names."""
    page = (repository / "docs" / "explorer.html").read_text()
    content = re.search(r'id="experiments">(.*?)</script>', page, re.DOTALL)[1]
    return page, {each["name"]: each for each in json.loads(content)}


def test_the_published_page_is_up_to_date_and_asks_no_other_machine(published, tmp_path):
    page, experiments = published
    write_page(tmp_path / "explorer.html", list(experiments.values()))
    assert page == (tmp_path / "explorer.html").read_text(), "run 'make explorer'"
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", page) == []
    assert len(page) < 1e6 * len(experiments)


@needs_browser
@pytest.mark.parametrize("name", ["main", "cifar-10"])
def test_the_published_page_gives_the_published_configurations(published, repository, tmp_path, name):
    folder = repository / "reports" if name == "main" else repository / "reports" / name
    table = pd.read_csv(folder / "tables" / "configurations.csv")
    rows = table[(table["seed"] == 0) & (table["training"] == "independent")].to_dict("records")
    asked = [[0, settings("CPM", row["calibration"], [row[f"m{b}"] for b in (1, 2, 3)])] for row in rows]
    found = run_in_browser(tmp_path, [published[1][name]], asked)
    for one, row in zip(found, rows, strict=True):
        for column in ("accuracy", "drop", "reduction"):
            assert one[column] == pytest.approx(row[column], abs=1e-6), (name, row)
        shares = [number / len(one["exits"]) for number in one["number"]]
        assert shares == pytest.approx([row[f"exit{e}"] for e in (1, 2, 3, 4)], abs=1e-6)


@needs_browser
def test_a_slider_moved_says_what_changed(results, tmp_path):
    write_page(tmp_path / "explorer.html", [experiment_numbers("small", "Small", results, results.trees[0])])
    script = """
    const slider = document.querySelector("input[type=range]");
    const text = (name) => document.querySelector(`.${name}`).textContent;
    const before = text("takeaway");
    slider.value = -10;
    slider.dispatchEvent(new Event("input"));
    slider.dispatchEvent(new Event("change"));
    return {
      before,
      after: text("takeaway"),
      changed: text("changed"),
      pictures: document.querySelectorAll("figure").length,
      marks: document.querySelectorAll(".mark").length,
      focusable: slider.tabIndex,
      said: slider.getAttribute("aria-valuetext"),
      place: location.hash,
    };"""
    found = found_in_browser(tmp_path, (tmp_path / "explorer.html").read_text(), script)
    calibrator = Calibrator(results.trees[0], results.features, results.terms)
    exits = []
    for knobs in ((0.0, 0.0, 0.0), (-0.1, 0.0, 0.0)):
        outputs, thresholds = calibrator.calibrated(knobs)
        exits.append(run_simulation(*outputs["test"], results.features["test"], thresholds, results.cost).exits)
    movers = int((exits[0].exit != exits[1].exit).sum())
    assert movers > 0
    assert f"Branch 1 from 0 to −10 points: {movers:,} images change their exit" in found["after"]
    assert "saved" in found["before"]
    assert found["changed"].startswith(f"{movers:,} images")
    assert 0 < found["pictures"] <= 24
    assert found["marks"] == len(
        {(int(e), int(c)) for e, c in zip(exits[1].exit, exits[1].label, strict=True) if e < 3}
    )
    assert (found["focusable"], found["said"]) == (0, "−10 points")
    assert found["place"] == "#small/CPM/survivors/-0.1/0/0"


def test_the_widget_speaks_of_its_knobs(results):
    widget = MarginExplorer(experiment=experiment_numbers("small", "Small", results, results.trees[0]))
    widget.set_state({"knobs": [0.01, 0.0, -0.02]})
    assert widget.knobs == [0.01, 0.0, -0.02]
    assert widget.experiment["classes"] == list(results.splits.classes)
