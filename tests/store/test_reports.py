import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib import pyplot as plt

from btsee_lib.config import params
from btsee_lib.experiment import repository_root
from btsee_lib.store import reports
from btsee_lib.store.reports import Report


@pytest.fixture(autouse=True)
def by_hand(workspace, monkeypatch):
    """Every report of this file is written by hand, into an empty repository, unless a test records."""
    monkeypatch.delenv("BTSEE_RECORD", raising=False)
    run_on("fashion-mnist")
    return workspace


def run_on(data_set):
    """Name the data set in the parameters of the repository that is the working directory."""
    data = params("data", repository_root(Path(__file__).parent) / "params.yaml").model_dump()
    Path("params.yaml").write_text(yaml.safe_dump({"data": data | {"name": data_set}}))


@pytest.fixture
def record(monkeypatch):
    def switch(value="1"):
        monkeypatch.setenv("BTSEE_RECORD", value)

    return switch


@pytest.fixture
def recorded(workspace):
    """Write what the pipeline has published."""

    def write(**numbers):
        (workspace / "reports").mkdir(exist_ok=True)
        (workspace / "reports" / "metrics.json").write_text(json.dumps(numbers))

    return write


@pytest.fixture
def printed(capsys):
    """What an expectation prints."""

    def expect(*arguments, **options):
        Report("05_numbers").expect(*arguments, **options)
        return capsys.readouterr().out

    return expect


def files_below(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("value", "folder"), [(None, "scratch"), ("0", "scratch"), ("1", "reports")])
def test_only_the_pipeline_writes_where_results_are_published_from(workspace, record, value, folder):
    if value is not None:
        record(value)
    report = Report("02_backbone")
    report.table(pd.DataFrame({"a": [1]}), "stage_costs")
    report.number("accuracy", 0.5)
    assert report.recording == (folder == "reports")
    below = f"artifacts/{folder}/02_backbone"
    assert files_below(workspace) == {
        "dvc.yaml",
        "params.yaml",
        f"{below}/metrics.json",
        f"{below}/stage_costs.csv",
    }


def test_a_table_is_returned_as_it_was_written():
    table = pd.DataFrame({"name": ["a", "b"], "value": [1 / 3, 123456.789], "count": [3, 4]}, index=[7, 9])
    report = Report("05_numbers")
    returned = report.table(table, "some")
    text = (report.folder / "some.csv").read_text()
    assert text == "name,value,count\na,0.333333,3\nb,123457,4\n"
    pd.testing.assert_frame_equal(returned, pd.read_csv(report.folder / "some.csv"))


@pytest.mark.parametrize("table", [pd.DataFrame(), pd.DataFrame(columns=["a", "name"])])
def test_a_table_of_nothing_is_returned_as_one(table):
    returned = Report("05_numbers").table(table, "none")
    assert list(returned.columns) == list(table.columns)
    assert returned.empty


def test_numbers_are_kept_with_six_digits_and_counts_whole():
    report = Report("05_numbers")
    report.number("share", 1 / 3)
    report.number("count", np.int64(123456789))
    report.number("nothing", math.nan)
    report.number("endless", math.inf)
    report.number("share", np.float32(0.25))
    numbers = json.loads((report.folder / "metrics.json").read_text())
    assert numbers == {"share": 0.25, "count": 123456789, "nothing": None, "endless": None}
    report.number("share", 2 / 3)
    assert json.loads((report.folder / "metrics.json").read_text())["share"] == 0.666667


def test_equal_numbers_give_equal_files():
    texts = []
    for names in (("a", "b"), ("b", "a")):
        report = Report("05_numbers")
        for name in names:
            report.number(name, 0.5)
        texts.append((report.folder / "metrics.json").read_text())
    assert texts[0] == texts[1]


def test_recorded_numbers_overrule_those_of_a_trial(record):
    trial = Report("02_backbone")
    trial.number("accuracy", 0.1)
    trial.number("tried", 1)
    own = Report("06_conclusions")
    record()
    Report("02_backbone").number("accuracy", 0.9)
    own.number("own", 3)
    assert own.numbers_so_far() == {"accuracy": 0.9, "tried": 1, "own": 3}
    assert Report("06_conclusions").numbers_so_far() == {"accuracy": 0.9}


def test_what_agrees_gives_the_same_sentence(recorded, printed):
    recorded(accuracy=0.91)
    sentences = {printed("accuracy", value, within=0.02) for value in (0.91, 0.93, 0.89, 0.9012)}
    assert sentences == {"accuracy: within 0.02 of 0.91\n"}


@pytest.mark.parametrize("value", [0.9302, 0.8898, -0.91, math.nan, math.inf])
def test_what_does_not_agree_gives_another(recorded, printed, value):
    recorded(accuracy=0.91)
    sentence = printed("accuracy", value, within=0.02)
    assert sentence == f"accuracy: {value:.4g} is NOT within 0.02 of the recorded 0.91\n"


def test_the_unit_stands_behind_the_numbers(recorded, printed):
    recorded(drop=1.5)
    assert printed("drop", 1.6, within=0.5, unit="points") == "drop: within 0.5 points of 1.5 points\n"
    assert (
        printed("drop", 2.5, within=0.5, unit="points")
        == "drop: 2.5 points is NOT within 0.5 points of the recorded 1.5 points\n"
    )


def test_counts_are_exact(recorded, printed):
    recorded(images=60000)
    assert printed("images", 60000, within=0) == "images: 60,000, as recorded\n"
    assert printed("images", np.int64(60000), within=0, unit="images") == "images: 60,000 images, as recorded\n"
    assert "NOT within" in printed("images", 60001, within=0)
    assert "NOT within" in printed("images", 59999.9, within=0)


def test_a_number_of_which_nothing_is_recorded_says_so(recorded, printed):
    assert printed("share", 0.25, within=0.1) == "share: no value is recorded, this run has 0.25\n"
    recorded(other=1)
    assert printed("share", 0.25, within=0.1) == "share: no value is recorded, this run has 0.25\n"


def test_a_number_without_a_value_says_so(recorded, printed):
    recorded(share=None)
    assert printed("share", math.nan, within=0.1) == "share: has no value\n"
    assert printed("share", 0.25, within=0.1) == "share: no value is recorded, this run has 0.25\n"


@pytest.mark.parametrize(
    ("value", "within"), [(0.123456789, 0.01), (12345678, 0), (math.nan, 0.1), (0.0, 0.1), (-3.5, 0.5)]
)
def test_the_run_that_records_prints_what_later_runs_print(workspace, record, recorded, printed, value, within):
    recorded(it=77.0)  # of an earlier run
    record()
    first = printed("it", value, within=within)
    recorded(**reports.read_numbers(workspace / "artifacts" / "reports"))
    record("0")
    assert printed("it", value, within=within) == first
    assert "NOT" not in first


def test_a_figure_is_shown_with_its_description_and_closed(monkeypatch):
    shown = []
    monkeypatch.setattr(reports, "display", lambda *what, **how: shown.append((what, how)))
    figure = plt.figure()
    reports.show(figure, "Nothing at all.")
    assert shown == [((figure,), {"metadata": {"image/png": {"alt": "Nothing at all."}}})]
    assert not plt.fignum_exists(figure.number)


def test_a_run_on_another_data_set_says_that_the_sentences_are_about_the_first(capsys):
    Report("02_backbone")
    assert capsys.readouterr().out == ""
    run_on("cinic-10")
    Report("02_backbone")
    assert "This run is on cinic-10. The sentences between the cells are about fashion-mnist" in (
        capsys.readouterr().out
    )


def write_table(folder, name, text):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.csv").write_text(text)


def test_a_table_of_an_earlier_notebook_is_the_published_one_until_that_notebook_has_run(workspace):
    write_table(workspace / "reports" / "tables", "wins", "gain\n0.5\n")
    assert reports.made_table("05_evaluation", "wins")["gain"].tolist() == [0.5]
    write_table(workspace / "artifacts" / "reports" / "05_evaluation", "wins", "gain\n0.75\n")
    assert reports.made_table("05_evaluation", "wins")["gain"].tolist() == [0.75]


@pytest.fixture
def profile(workspace, monkeypatch):
    """The folder of a profile, which is the working directory."""
    home = workspace / "reports" / "cinic-10"
    home.mkdir(parents=True)
    (home / "dvc.yaml").touch()
    monkeypatch.chdir(home)
    return home


def test_the_claims_of_all_profiles_stand_beside_those_of_the_main_experiment(workspace, profile, monkeypatch):
    for name in ("full-width", "cinic-10"):
        write_table(workspace / "reports" / "experiments", name, f"claim\n{name}\n")
    assert reports.claims_of_profiles() == {}
    monkeypatch.chdir(workspace)
    found = reports.claims_of_profiles()
    assert {name: table["claim"].tolist() for name, table in found.items()} == {
        "cinic-10": ["cinic-10"],
        "full-width": ["full-width"],
    }


def test_by_hand_what_is_published_stands_in_for_notebooks_that_have_not_run(record):
    reports = Path("reports")
    reports.mkdir(exist_ok=True)
    (reports / "metrics.json").write_text(json.dumps({"accuracy": 0.5, "published": 1, "tried": 2}))
    Report("02_backbone").number("tried", 3)
    assert Report("06_conclusions").numbers_so_far() == {"accuracy": 0.5, "published": 1, "tried": 3}
    record()
    assert Report("06_conclusions").numbers_so_far() == {}


def test_a_sentence_is_told_with_what_it_is_worth(capsys):
    report = Report("02_backbone")
    table = pd.DataFrame({"share": [0.9, 0.1]})
    report.holds("the first is larger", table["share"][0] > table["share"][1])
    table["share"] = table["share"][::-1].to_numpy()
    report.holds("the first is larger", table["share"][0] > table["share"][1])
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "holds: the first is larger",
        "does NOT hold here: the first is larger",
    ]


def test_where_a_number_is_another_one_other_conditions_are_told(workspace, recorded, printed):
    recorded(a=1)
    (workspace / "reports" / "tables").mkdir()
    here = reports.conditions()
    rows = pd.DataFrame(list({**here, "threads": "96"}.items()), columns=["name", "value"])
    rows.to_csv(workspace / "reports" / "tables" / reports.CONDITIONS, index=False)
    told = f"(recorded with threads 96, here {here['threads']})"
    assert printed("a", 3, within=1).rstrip() == f"a: 3 is NOT within 1 of the recorded 1 {told}"
    assert "recorded with" not in printed("a", 1.5, within=1)
    rows.assign(value=list(here.values())).to_csv(
        workspace / "reports" / "tables" / reports.CONDITIONS, index=False
    )
    assert "recorded with" not in printed("a", 3, within=1)
