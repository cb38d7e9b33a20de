"""The results in git agree with one another: verdicts with numbers, numbers with tables."""

import hashlib
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from btsee_lib.config import SECTIONS
from btsee_lib.evaluation import BTS_EE, CALIBRATION_ALONE, mean_over_seeds, of_cell, on_front, recommend
from btsee_lib.experiment import repository_root
from btsee_lib.schemes import SCHEMES
from btsee_lib.store.backbone_artefact import STATIC
from btsee_lib.store.code import digests_of_code
from btsee_lib.studies.claims import RIVALS, SIMPLER, claims_table
from btsee_lib.studies.comparison import Resamples, at_equal_margins
from btsee_lib.studies.other_ways import best_offers, of_middle_drop

PAPERS = (CALIBRATION_ALONE.training, BTS_EE.training)
ROOT = repository_root(Path(__file__).parent)
HOMES = [path.parents[1] for path in sorted((ROOT / "reports").glob("**/tables/claims.csv"))]


@pytest.fixture(params=HOMES, ids=lambda home: home.name)
def home(request):
    return request.param


@pytest.fixture
def numbers(home):
    return json.loads((home / "metrics.json").read_text())


@pytest.fixture
def averaged(home):
    return mean_over_seeds(pd.read_csv(home / "tables" / "configurations.csv"))


def test_what_a_lecturer_is_told_of_the_results_is_what_they_say():
    plan, tables = (ROOT / "TEACHING.md").read_text(), ROOT / "reports" / "tables"
    numbers = json.loads((ROOT / "reports" / "metrics.json").read_text())
    stages = pd.read_csv(tables / "cascade.csv")["macs"]
    of_trousers, of_shirts = (
        pd.read_csv(tables / "threshold_search.csv").query("`class` == @name").iloc[0]
        for name in ("Trouser", "Shirt")
    )
    natural = json.loads((ROOT / "reports" / "cifar-10" / "metrics.json").read_text())
    short = pd.read_csv(tables / "promise_summary.csv").set_index(["calibration", "branches"])["shortfall"]
    margins = pd.read_csv(tables / "equal_margins.csv").query("rival == 'conventional cascade'")
    every = mean_over_seeds(pd.read_csv(tables / "configurations.csv"))
    loose = of_cell(every, CALIBRATION_ALONE).query("m2 == 0 and m3 == 0").set_index("m1")
    far = loose["exit3"] + loose["exit4"]  # the share that gets as far as branch 3
    executed = (ROOT / "reports" / "notebooks" / "02_backbone.ipynb").read_text()
    kilobytes = float(re.search(r"([\d.]+) kB of grids", executed)[1])  # of one of the 70,000 images
    falls = pd.read_csv(ROOT / "reports" / "cifar-10" / "tables" / "fall_on_survivors.csv")
    trained_alone = falls[falls["rule"].str.startswith("CPM")].query("network != 'branch 2'")
    told = {
        "it takes what 950 MB take": abs(70 * kilobytes - 950) < 10,
        '"A quarter": that is what has been *spent*': round(4 * stages[0] / stages.sum()) == 1,
        "three quarters lie behind the exit": round(4 * stages[1:].sum() / stages.sum()) == 3,
        "It is two in three": round(numbers["data.nearest_mean_accuracy"], -1) == 70,
        "of the clearest tenth more than nine in ten": numbers["data.accuracy_clearest_tenth"] > 90,
        "nothing that shows is left on Fashion-MNIST, and six tenths of a point on CIFAR-10": (
            numbers["shift.beyond_low"] < 0 < numbers["shift.beyond_high"]
            and round(natural["shift.beyond"], 1) == 0.6
            and natural["shift.beyond_low"] > 0
        ),
        "fall further than the backbone too, the weaker the further": (
            trained_alone.sort_values("accuracy")["fall"].is_monotonic_decreasing and len(trained_alone) == 6
        ),
        "would fall by 12 as well (Fashion-MNIST: 15)": [
            round(each["shift.fall_expected"]) for each in (natural, numbers)
        ]
        == [12, 15],
        "falls by 15 points, and so does": round(numbers["shift.fall"])
        == round(numbers["shift.fall_of_backbone"])
        == 15,
        "falls by 12 points and the backbone by 7": (
            round(natural["shift.fall"]),
            round(natural["shift.fall_of_backbone"]),
        )
        == (12, 7),
        "branch 2 loses 1.7 points, branch 3 6.4": [round(numbers[f"boosting.gain.{b}"], 1) for b in (2, 3)]
        == [-1.7, -6.4],
        "on all images by more than five points": short["full", "2"] > 5,
        "on survivors by less than one": short["survivors", "2"] < 1,
        "about 2 images in 100": 0.01 < far[0.0] < 0.025,
        "-4 points at branch 1 about 10": 0.09 < far[-0.04] < 0.11,
        "in 44 of 64 configurations": (numbers["evaluation.full.less_lost"], len(margins)) == (44, 64),
        "in all 64 it saves less": (margins["more_reduction"] < 0).all(),
        "In none is it ahead in both": numbers["evaluation.full.better"] == 0,
        "That of trousers is 100 %": of_trousers["bar"] == 1,
        "their threshold the higher one": of_trousers["threshold"] > of_shirts["threshold"],
    }
    assert [sentence for sentence in told if sentence not in plan] == []
    assert [sentence for sentence, holds in told.items() if not holds] == []


def test_what_notebooks_say_of_cifar_10_is_what_its_results_say():
    home = ROOT / "reports" / "cifar-10"
    tables = {path.stem: pd.read_csv(path) for path in (home / "tables").glob("*.csv")}
    natural = json.loads((home / "metrics.json").read_text())
    natural |= json.loads((home / "metrics_10_time.json").read_text())
    short = tables["promise_summary"].set_index(["calibration", "branches"])["shortfall"]
    of_bts_ee = of_cell(mean_over_seeds(tables["configurations"]), BTS_EE)[["exit1", "exit2", "exit3"]].mean()
    chosen = tables["recommended"].set_index(["max_drop", "training", "calibration"])
    saved = (100 * chosen["reduction"]).round().xs(1.0)
    exits = tables["class_exits"].pivot(index="class", columns="exit", values="share")
    beside, networks = tables["gains_over_rivals"], sorted(tables["rivals"]["width"].dropna())
    over_networks = pd.read_csv(ROOT / "reports/measured/other_ways/cifar-10/networks.csv")
    asked = "reduction.isna() and training == 'independent' and rule == 'difference of two'"
    of_bare = {
        end: rows[["gain", "low", "high"]].round(1).iloc[0].tolist()
        for end, rows in over_networks.query(asked).groupby("up_to")
    }
    by_seed = tables["fall_by_seed"]
    alone = tables["fall_on_survivors"].query("rule.str.startswith('CPM')").tail(2)
    behind = beside[beside["reduction"].isna()].set_index("training")[["gain", "low", "high"]].T
    told = {
        ("03_boosted_branches", "On CIFAR-10 it is *d*, but hardly for the reason"): natural[
            "shift.further_low"
        ]
        > 0,
        ("03_boosted_branches", "branch 2 is the weaker network by six points"): (
            round(alone["accuracy"].diff().iloc[-1]) == -6
        ),
        (
            "03_boosted_branches",
            "under two of three, on average by 0.6 points (0.2 to 1.1): a small part of the",
        ): (
            ((by_seed["low"] > 0).sum(), len(by_seed), round(natural["shift.further"])) == (2, 3, 5)
            and [round(natural[f"shift.beyond{end}"], 1) for end in ("", "_low", "_high")] == [0.6, 0.2, 1.1]
            and natural["shift.beyond"] == pytest.approx(by_seed["beyond"].mean(), abs=1e-3)
        ),
        ("05_evaluation", "Against one of the same accuracy six tenths of a point are left"): (
            round(natural["shift.beyond"], 1) == 0.6 and natural["shift.beyond_low"] > 0
        ),
        ("04_class_precision_margin", "On CIFAR-10 it is *d*"): min(short["full", "2"], short["full", "3"])
        > 10,
        ("04_class_precision_margin", "on survivors branch 2 by 2.3 and branch 3 not at all"): (
            round(short["survivors", "2"], 1) == 2.3 and short["survivors", "3"] < 0
        ),
        ("04_class_precision_margin", "on CIFAR-10 half of what"): (
            0.45 < (of_bts_ee["exit2"] + of_bts_ee["exit3"]) / (1 - of_bts_ee["exit1"]) < 0.55
        ),
        ("05_evaluation", "on CIFAR-10 it is *c*"): natural["evaluation.full.gain_high"] < -0.25,
        ("05_evaluation", "On CIFAR-10 both together cost more than half"): natural["evaluation.full.gain"]
        < -0.5,
        ("05_evaluation", "alone it costs as much, and the calibration alone moves the accuracy by less"): (
            natural["evaluation.gain.boosted.full"] < natural["evaluation.full.gain"]
            and abs(natural["evaluation.gain.independent.survivors"]) < 0.25
        ),
        ("05_evaluation", "On CIFAR-10 it is *a*: about four in ten"): chosen["exit1"]
        .xs(0.5)
        .round(1)
        .eq(0.4)
        .all(),
        ("05_evaluation", "independent branches, calibrated on survivors, save 50 %"): (
            (saved["independent", "survivors"], saved["boosted", "survivors"]) == (50, 47)
            and saved["independent", "first_branch"] == 37
        ),
        ("05_evaluation", "On CIFAR-10 it is four in ten, and of the classes three to six"): (
            round(10 * (exits[2] + exits[3]).mean()) == 4
            and (round(10 * exits[1].min()), round(10 * exits[1].max())) == (3, 6)
        ),
        ("03_boosted_branches", "from 6.9 to 5.3 points at branch 2 and from 6.7 to 1.6 at branch 3"): (
            [round(-natural[f"boosting.{key}.{b}"], 1) for b in (2, 3) for key in ("gain", "own_visits.gain")]
            == [6.9, 5.3, 6.7, 1.6]
            and natural["boosting.own_visits.gain.3_high"] < 0
        ),
        ("05_evaluation", "from 0.93 points at equal visits to 0.54"): (
            round(natural["evaluation.survivors.gain"], 2) == -0.93
            and round(natural["evaluation.own_visits.gain"], 2) == -0.54
            and natural["evaluation.own_visits.gain_high"] < 0
        ),
        ("05_evaluation", "BTS-EE loses 0.9 points more than they do (0.4 to 1.3)"): (
            behind["boosted"].round(1).tolist() == [-0.9, -1.3, -0.4] and networks == [16, 20, 24, 28]
        ),
        ("05_evaluation", "the independent branches 0.5 (0.0 to 1.0)"): (
            behind["independent"].round(1).tolist() == [-0.5, -1.0, 0.0] and behind["independent"]["high"] < 0
        ),
        ("05_evaluation", "where it saves up to 47 % of the MACs, the independent branches up to 53 %"): all(
            ((little["low"] < 0) & (little["high"] > 0)).all() and len(little) > 8
            for training, most in {"boosted": 0.475, "independent": 0.535}.items()
            for little in [beside.query("training == @training and reduction <= @most")]
        ),
        ("05_evaluation", "from 57 % on, both cascades are behind it"): (
            (much := beside[beside["reduction"] >= 0.57])["training"].nunique() == 2
            and (much["high"] < 0).all()
        ),
        ("05_evaluation", "are ahead of the networks by 0.8 points (0.3 to 1.3), on average from 32 to 50 %"): (
            of_bare[0.5] == [0.8, 0.3, 1.3] and round(100 * over_networks["reduction"].min()) == 32
        ),
        ("05_evaluation", "over all that they can save they are behind by 0.9 (0.5 to 1.2)"): (
            of_bare[1] == [-0.9, -1.2, -0.5]
        ),
        ("05_evaluation", "on CIFAR-10 a third"): tables["gain_of_one_threshold"]["gain"]
        .between(0.3, 0.37)
        .all()
        and (tables["gain_of_one_threshold"]["low"] > 0).all(),
        ("10_time", "more accurate by about a point and a half, for twice the MACs"): (
            1.25 < natural["deployment.gain_over_static"] < 1.75
            and 1.75 < (1 - natural["recommended.1.reduction"]) / natural["deployment.static_cost"] < 2.25
        ),
    }
    for (name, sentence), holds in told.items():
        source = " ".join((ROOT / "notebooks" / f"{name}.ipynb").read_text().replace('\\n",', "").split())
        assert sentence in source.replace(' "', " "), sentence
        assert holds, sentence


@pytest.mark.parametrize(("name", "home"), [("cifar-10", "reports/cifar-10"), ("fashion-mnist", "reports")])
def test_gains_over_networks_follow_from_the_rules_and_the_networks_in_git(name, home):
    compared = ROOT / "reports" / "measured" / "other_ways" / name
    gains, rules, offered = (pd.read_csv(compared / f"{each}.csv") for each in ("networks", "rules", "offers"))
    networks = pd.read_csv(ROOT / home / "measured" / "rivals.csv")
    backbone = json.loads((ROOT / home / "metrics.json").read_text())["backbone.test_accuracy"]
    stages = pd.read_csv(ROOT / home / "tables" / "cascade.csv")["macs"].sum()
    saved = [0, *(1 - networks["macs"] / stages)[::-1]]
    lost = [0, *(backbone - 100 * networks["accuracy"])[::-1]]
    pairs = list(gains.groupby(["training", "rule"], sort=False))
    best = best_offers(of_middle_drop(offered)).iloc[0]
    schemes, asked = (dict.fromkeys(each) for each in ((best["training"], *PAPERS), (best["rule"], "CPM")))
    assert [pair for pair, _ in pairs] == list(itertools.product(schemes, asked))
    for (training, rule), rows in pairs:
        mine = rules[(rules["training"] == training) & (rules["rule"] == rule)].sort_values("reduction")
        front = mine[on_front(mine["valid_drop"], mine["valid_reduction"])]
        places, (throughout, half) = rows.iloc[:-2], rows["gain"].iloc[-2:]
        at = places["reduction"]
        line, drop = np.interp(at, saved, lost), np.interp(at, front["reduction"], front["drop"])
        assert np.allclose(places["gain"], line - drop, atol=2e-3)
        assert throughout == pytest.approx(places["gain"].mean(), abs=1e-4)
        up_to_half = np.linspace(at.min(), 0.5, 25)
        line = np.interp(up_to_half, saved, lost)
        drop = np.interp(up_to_half, front["reduction"], front["drop"])
        assert half == pytest.approx((line - drop).mean(), abs=2e-3)
        assert ((rows["low"] < rows["gain"]) & (rows["gain"] < rows["high"])).all()


def counts_of(averaged, cell):
    """How many configurations each reading counts for BTS-EE against a rival, as measured."""
    alone = Resamples(*(averaged[name].to_numpy()[None] for name in ("drop", "reduction")))
    _, counts = at_equal_margins(averaged, alone, 0.95, cell)
    return dict(zip(counts["reading"], counts["count"], strict=True))


def test_every_verdict_follows_from_the_numbers(home, numbers, tmp_path):
    claims_table(numbers).to_csv(tmp_path / "claims.csv", index=False, float_format="%.6g")
    expected = pd.read_csv(tmp_path / "claims.csv")
    found = pd.read_csv(home / "tables" / "claims.csv")
    assert found["claim"].tolist() == expected["claim"].tolist()
    assert found["verdict"].tolist() == expected["verdict"].tolist()
    for column in ("measured", "low", "high"):
        assert found[column].to_numpy() == pytest.approx(expected[column].to_numpy(), rel=1e-4, nan_ok=True)


def test_who_is_ahead_at_equal_margins_follows_from_the_configurations(numbers, averaged):
    for cell in RIVALS:
        count = counts_of(averaged, cell)
        recorded = {
            name: numbers[f"evaluation.{cell.calibration}.{name}"] for name in ("better", "worse", "ahead")
        }
        assert recorded["ahead"] == recorded["better"] - recorded["worse"] == count["ahead"]
        assert recorded["better"] == count["better in both"]
        assert numbers[f"evaluation.{cell.calibration}.less_lost"] == count["less accuracy lost"]


def test_what_is_recommended_follows_from_the_configurations(numbers, averaged):
    chosen_for = [name for name in numbers if name.startswith("recommended.")]
    recorded = [name.split(".reduction")[0] for name in chosen_for if name.endswith(".reduction")]
    chosen = of_cell(
        recommend(averaged, [float(name.removeprefix("recommended.")) for name in recorded]), BTS_EE
    )
    assert len(chosen) == len(recorded) > 0
    for row in chosen.itertuples():
        for name in ("reduction", "drop"):
            assert numbers[f"recommended.{row.max_drop:g}.{name}"] == pytest.approx(
                getattr(row, name), abs=1e-3
            )


@pytest.mark.parametrize("cell", RIVALS)
def test_with_a_rival_in_the_place_of_bts_ee_the_recorded_counts_would_be_others(numbers, averaged, cell):
    """Who takes the method out of the evaluation is noticed by the tests above."""
    swapped = averaged.copy()
    columns = ["drop", "reduction"]
    swapped.loc[of_cell(swapped, BTS_EE).index, columns] = of_cell(swapped, cell)[columns].to_numpy()
    less_lost = counts_of(swapped, cell)["less accuracy lost"]
    assert less_lost != numbers[f"evaluation.{cell.calibration}.less_lost"]


def test_the_gains_of_boosting_follow_from_the_branches(home, numbers):
    table = pd.read_csv(home / "tables" / "training_gains.csv")
    for number, rows in table.groupby("branch"):
        expected = np.average(rows["gain"], weights=rows["test_survivors"])
        assert numbers[f"boosting.gain.{number}"] == pytest.approx(expected, abs=1e-3)


def recorded_intervals(tables):
    """Intervals on which verdicts rest and that a table holds too: name in the metrics; value, low, high."""
    beside = (("equal_drop", SIMPLER, "more", "equal_drop"), ("gain_by_rival", RIVALS, "gain", "gain"))
    for table, rivals, column, name in beside:
        rows = pd.read_csv(tables / f"{table}.csv").set_index("rival")
        for cell, rival in rivals.items():
            yield f"evaluation.{cell.calibration}.{name}", rows.loc[rival, [column, "low", "high"]].tolist()
    promises = pd.read_csv(tables / "promise_summary.csv").set_index(["calibration", "branches"])
    columns = ["shortfall", "shortfall_low", "shortfall_high"]
    for branches in ("1", "2", "3"):
        yield f"cpm.survivors.{branches}.shortfall", promises.loc[("survivors", branches), columns].tolist()
    for row in of_cell(pd.read_csv(tables / "recommended.csv"), BTS_EE).to_dict("records"):
        for name in ("drop", "reduction"):
            ends = [row[f"{name}{end}"] for end in ("", "_low", "_high")]
            yield f"recommended.{row['max_drop']:g}.{name}", ends


def test_the_intervals_that_verdicts_rest_on_are_those_of_the_tables(home, numbers):
    found = list(recorded_intervals(home / "tables"))
    assert len(found) >= 7
    for name, ends in found:
        recorded = [numbers[f"{name}{end}"] for end in ("", "_low", "_high")]
        assert recorded == pytest.approx(ends, rel=1e-4, abs=1e-6), name


@pytest.mark.parametrize(
    "folder", sorted((ROOT / "reports/measured/other_ways").glob("*/")), ids=lambda path: path.name
)
def test_what_schemes_save_under_rules_follows_from_what_each_knob_does(folder):
    tables = {path.stem: pd.read_csv(path) for path in folder.glob("*.csv")}
    assert set(tables["offers"]["training"]) == set(tables["standings"]["training"]) == set(SCHEMES)
    rows = tables["offers"].dropna(subset=["valid_reduction"])
    columns = ["valid_reduction", "drop", "reduction"]
    curves = tables["rules"].groupby(["training", "rule"])
    assert len(rows) > len(SCHEMES)
    for row in rows.to_dict("records"):
        curve = curves.get_group((row["training"], row["rule"]))
        allowed = curve[curve["valid_drop"] <= row["max_drop"]]
        best = allowed.loc[allowed["valid_reduction"].idxmax()]
        assert [row[name] for name in columns] == pytest.approx(best[columns].tolist(), abs=1e-4)
    of_rungs = mean_over_seeds(tables["configurations"])
    chosen = recommend(of_rungs, tables["standings"]["max_drop"].unique()).set_index(["training", "max_drop"])
    for row in tables["standings"].dropna(subset=["valid_reduction"]).to_dict("records"):
        best = chosen.loc[(row["training"], row["max_drop"])]
        assert [row[name] for name in columns] == pytest.approx(best[columns].tolist(), abs=1e-4)


@pytest.mark.parametrize(
    ("name", "home"), [("cifar-10", ROOT / "reports" / "cifar-10"), ("fashion-mnist", ROOT)]
)
def test_boosting_gains_with_all_images_what_the_same_branches_gain_among_all_configurations(name, home):
    found = pd.read_csv(ROOT / "reports/measured/fewer_images" / name / "branches.csv")
    found = found[(found["train_images"] == found["train_images"].max()) & ~found["closed"]]
    reports = home if home != ROOT else ROOT / "reports"
    every = pd.read_csv(reports / "tables" / "training_gains_own_visits.csv")
    both = found.merge(every, on=["seed", "branch", "m1", "m2"], suffixes=("", "_among_all"))
    assert len(both) > 10
    assert both["gain"].to_numpy() == pytest.approx(both["gain_among_all"].to_numpy(), abs=1e-4)


def recorded_places():
    """What a ``dvc.lock`` says of results in git: the folder of the pipeline, the path, its digest."""
    profiles = [path.parent for path in sorted((ROOT / "reports").glob("*/dvc.lock"))]
    for folder in (ROOT, ROOT / "industrial", *profiles):
        known = yaml.safe_load((folder / "dvc.yaml").read_text())["stages"]
        stages = yaml.safe_load((folder / "dvc.lock").read_text())["stages"]
        listed = [each for name in stages.keys() & known for each in stages[name].get("outs", [])]
        if folder not in profiles:
            listed += [each for name in stages.keys() & known for each in stages[name].get("deps", [])]
        inside = (
            ("reports/",)
            if folder not in profiles
            else ("notebooks", "solutions", "tables", "figures", "metrics")
        )
        found = {each["path"]: each["md5"] for each in listed if each["path"].startswith(inside)}
        yield from ((folder, path, digest) for path, digest in sorted(found.items()))


def md5_of(path):
    """The digest that DVC gives a file, or a folder: that of the list of its files with theirs."""
    if path.is_file():
        return hashlib.md5(path.read_bytes()).hexdigest()
    files = sorted((file.relative_to(path).as_posix(), file) for file in path.rglob("*") if file.is_file())
    listed = [{"md5": md5_of(file), "relpath": name} for name, file in files]
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode()).hexdigest() + ".dir"


@pytest.mark.parametrize(("root", "path", "digest"), list(recorded_places()), ids=str)
def test_results_are_those_that_the_pipeline_wrote(root, path, digest):
    assert md5_of(root / path) == digest, f"{path} was altered: 'dvc repro' makes it again"


def test_an_altered_result_has_another_digest(tmp_path):
    (tmp_path / "tables").mkdir()
    table = tmp_path / "tables" / "wins.csv"
    digests = set()
    for content in ("1", "2"):
        table.write_text(content)
        digests.add(md5_of(tmp_path))
    table.rename(tmp_path / "wins.csv")
    assert len({*digests, md5_of(tmp_path)}) == 3


def test_there_are_results_to_look_at():
    assert {folder for folder, _, _ in recorded_places()} >= {ROOT, ROOT / "industrial"}
    assert ROOT / "reports" in HOMES


def sections_of(home):
    """What ``params.yaml`` says of the experiment whose results lie in that folder."""
    return yaml.safe_load(((ROOT if home == ROOT / "reports" else home) / "params.yaml").read_text())


@pytest.mark.parametrize("folder", sorted((ROOT / "reports").glob("**/measured/*backbone")), ids=str)
def test_a_kept_network_is_of_the_recipe_and_the_code_that_stand_here(folder):
    """Another one would lie here unused, and everybody would train for themselves."""
    made_from = json.loads((folder / "fingerprint.json").read_text())["made_from"]
    assert made_from["code"] == digests_of_code("btsee_lib.training")
    sections = sections_of(folder.parents[1])
    if folder.name == STATIC:
        sections["backbone"]["width"] = sections["deployment"]["static_width"]
    assert made_from["parameters"] == {
        name: SECTIONS[name](**sections[name]).model_dump() for name in ("data", "compute", "backbone")
    }
    assert_whole(folder)


def assert_whole(folder):
    """Fail unless a kept artefact holds just the files that were written, unaltered."""
    assert json.loads((folder / "fingerprint.json").read_text())["sha256"] == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name != "fingerprint.json"
    }


@pytest.mark.parametrize("kind", ["cascades", "own_visits"])
def test_kept_branches_are_of_the_parameters_and_the_code_that_stand_here(home, kind):
    """Others would lie here unused, and everybody would train for themselves."""
    sections = sections_of(home)
    branches, boosting = (SECTIONS[name](**sections[name]) for name in ("branches", "boosting"))
    for scheme, seed in itertools.product(PAPERS, boosting.seeds):
        folder = home / "measured" / kind / f"{scheme}_seed_{seed}"
        made_from = json.loads((folder / "fingerprint.json").read_text())["made_from"]
        assert made_from["parameters"] == {
            "branches": branches.model_dump(),
            "boosting": boosting.model_dump() | {"seeds": [seed]},
        }
        # Head and scheme of both stand in one module; visits of their own in another.
        modules = ["btsee_lib.boosting", type(SCHEMES[scheme]).__module__]
        modules += ["btsee_lib.schemes.visits"] if kind == "own_visits" else []
        assert made_from["code"] == {k: v for each in modules for k, v in digests_of_code(each).items()}
        assert_whole(folder)


def test_kept_branches_are_those_that_notebook_03_published_and_trained_alike(home, numbers):
    published = pd.read_csv(home / "tables" / "trained_branches.csv")
    for (scheme, seed), expected in published.groupby(["training", "seed"]):
        kept = pd.read_csv(home / "measured" / "cascades" / f"{scheme}_seed_{seed}" / "nodes.csv")
        rows = expected.drop(columns="seed").reset_index(drop=True)
        pd.testing.assert_frame_equal(kept.reindex(columns=rows.columns), rows, check_dtype=False)
    assert numbers["boosting.agreement_of_independent"] == numbers["boosting.agreement_by_hand"] == 100


def test_the_readme_tells_how_much_of_the_branches_git_keeps():
    told = re.search(
        r"weights of all trained branches \((\d+) MB; of CIFAR-10 (\d+) MB\)", (ROOT / "README.md").read_text()
    )
    for home, megabytes in zip((ROOT / "reports", ROOT / "reports" / "cifar-10"), told.groups(), strict=True):
        files = [
            path for kind in ("cascades", "own_visits") for path in (home / "measured" / kind).rglob("*.pt")
        ]
        assert round(sum(path.stat().st_size for path in files) / 1e6) == int(megabytes)


@pytest.mark.parametrize("home", HOMES, ids=lambda home: home.name)
def test_kept_studies_are_of_the_code_that_stands_here_and_those_that_were_published(home):
    folder = home / "measured" / "studies"
    made_from = json.loads((folder / "fingerprint.json").read_text())["made_from"]
    assert made_from["code"] == digests_of_code("btsee_lib.studies.branch_design")
    sections = sections_of(home)
    assert made_from["parameters"]["branches"] == SECTIONS["branches"](**sections["branches"]).model_dump()
    for name in ("branch_kinds", "learning_curves"):
        kept, published = (pd.read_csv(each / f"{name}.csv") for each in (folder, home / "tables"))
        pd.testing.assert_frame_equal(kept, published, check_dtype=False, rtol=1e-5)
