import json
import shutil

import pandas as pd
import pytest
import yaml

from btsee_lib.pipeline import readme

TEXT = """# Title

<!-- headline: written by hand -->
| old |
<!-- end of headline -->
between
<!-- claims: written by hand -->
<!-- end of claims -->
<!-- backbones: written by hand -->
- old
<!-- end of backbones -->
<!-- static: written by hand -->
<!-- end of static -->
<!-- advice: written by hand -->
<!-- end of advice -->
"""


def write_results(reports, drop, verdict):
    (reports / "tables").mkdir(parents=True)
    rows = [("1 a claim", 3.0, 2.0, 4.0, verdict), ("7 another", None, None, None, "not testable here")]
    table = pd.DataFrame(rows, columns=["claim", "measured", "low", "high", "verdict"])
    table.to_csv(reports / "tables" / "claims.csv", index=False)
    numbers = {"backbone.test_accuracy": 93.25}
    for end, shift in (("", 0.0), ("_low", -0.1), ("_high", 0.1)):
        numbers |= {f"recommended.1.drop{end}": drop + shift, f"recommended.1.reduction{end}": 0.5 + shift}
    (reports / "metrics.json").write_text(json.dumps(numbers))


def write_other_ways(folder):
    folder.mkdir(parents=True)
    rows = [("independent", 0.0, 0.0, 0.0), ("boosted", -0.2, -0.3, -0.1), ("mine", 0.3, 0.1, 0.5)]
    standings = pd.DataFrame(rows, columns=["training", "gain", "gain_low", "gain_high"])
    pd.concat([standings.assign(max_drop=drop) for drop in (0.5, 1.0)]).to_csv(folder / "standings.csv")
    rows = [("boosted", "CPM", 0.5, 0.6), ("mine", "entropy", 0.7, 0.42), ("mine", "CPM", 0.6, 0.8)]
    offers = pd.DataFrame(rows, columns=["training", "rule", "valid_reduction", "reduction"])
    ends = {"reduction_low": 0.4, "reduction_high": 0.44, "drop": 0.9, "drop_low": 0.7, "drop_high": 1.1}
    offers.assign(max_drop=1.0, **ends).to_csv(folder / "offers.csv")
    drops = {"CPM": (0.6, 0.5), "lucky on test": (0.7, 0.1), "best on valid": (0.4, 0.45)}
    rows = [(rule, each, *drop) for rule, drop in drops.items() for each in (0.3, 0.5)]
    rules = pd.DataFrame(rows, columns=["rule", "reduction", "valid_drop", "drop"])
    rules.assign(training="independent", valid_reduction=rules["reduction"]).to_csv(folder / "rules.csv")


@pytest.fixture
def two_experiments(workspace, repository):
    parameters = yaml.safe_load((repository / "params.yaml").read_text())
    parameters["evaluation"]["max_drops"] = [1.0, 2.0]
    (workspace / "params.yaml").write_text(yaml.safe_dump(parameters))
    write_results(workspace / "reports", 0.9, "reproduced here")
    write_results(workspace / "reports" / "small", 0.7, "not reproduced here")
    parameters["data"]["name"], parameters["backbone"]["width"] = "cifar-10", 32
    (workspace / "reports" / "small" / "params.yaml").write_text(yaml.safe_dump(parameters))
    (workspace / "reports" / "experiments").mkdir()
    shutil.copy(workspace / "reports/small/tables/claims.csv", workspace / "reports/experiments/small.csv")
    write_other_ways(workspace / "reports" / "measured" / "other_ways" / "clothes")
    return workspace


def test_the_rule_that_is_advised_was_chosen_on_valid_and_the_leading_scheme_has_its_interval(two_experiments):
    (line,) = [each for each in readme.filled(TEXT).splitlines() if each.startswith("- **clothes**")]
    assert "1 of 2 schemes is ahead of independent branches by more than the interval" in line
    best = "  - most saved for at most 1 points on valid: *mine* under *entropy*, on test 42.0 % (40.0 to 44.0)"
    (offer,) = [each for each in readme.filled(TEXT).splitlines() if each.startswith("  - most saved")]
    assert offer.startswith(best)
    assert "on test *mine* is first with +0.30 points (+0.10 to +0.50)" in line
    assert "*best on valid* drops least on valid; on test its drop is +0.45 points" in line
    assert line.endswith("and that of CPM +0.50.")


def test_verdicts_that_other_backbones_do_not_share_are_named(two_experiments):
    rows = [("1 a claim", 3, 3), ("2 another", 3, 1), ("3 a third", 3, 2)]
    table = pd.DataFrame(rows, columns=["claim", "backbones", "same"])
    table.to_csv(two_experiments / "reports" / "small" / "tables" / "claims_over_backbones.csv", index=False)
    text = readme.filled(TEXT)
    assert "- old" not in text
    (line,) = [each for each in text.splitlines() if "backbones;" in each]
    assert line == (
        "- **cifar-10, width 32 (`small`)**: 1 of 3 verdicts are the same on all 3 backbones; "
        "the others: 2 another (1 of 3); 3 a third (2 of 3)."
    )


def test_the_tables_hold_the_results_of_all_experiments_profiles_first(two_experiments):
    text = readme.filled(TEXT)
    assert "| old |" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert [row.split(" | ")[0] for row in rows[2:4]] == [
        "| cifar-10, width 32 (`small`)",
        "| fashion-mnist, width 16",
    ]
    assert "| **50.0 %** (40.0 to 60.0) at 0.70 (0.60 to 0.80) | no configuration |" in rows[2]
    assert rows[4] == "| claim | cifar-10, width 32 (`small`) | fashion-mnist, width 16 |"
    span = "3.00 (2.00 to 4.00)"
    assert rows[6] == f"| 1 a claim | not reproduced here: {span} | reproduced here: {span} |"
    assert rows[7] == "| 7 another | not testable here | not testable here |"


def test_a_network_that_never_stops_early_is_set_beside_the_cascades_where_it_was_trained(two_experiments):
    gain = {
        f"deployment.gain_over_static{end}": value for end, value in (("", 1.0), ("_low", 0.5), ("_high", 1.5))
    }
    numbers = {"deployment.static_cost": 0.25} | gain
    (two_experiments / "reports/small/metrics_10_time.json").write_text(json.dumps(numbers))
    (line,) = [each for each in readme.filled(TEXT).splitlines() if "the network takes" in each]
    assert line == (
        "- **cifar-10, width 32 (`small`)**: the network takes 25 % of the MACs, the cascades that are "
        "recommended for 1 point 50 %; these are +1.00 points (+0.50 to +1.50) more accurate."
    )


def test_what_stands_between_the_tables_is_kept_and_a_second_time_changes_nothing(two_experiments):
    text = readme.filled(TEXT)
    assert text.startswith("# Title\n\n<!-- headline: written by hand -->\n|")
    assert "<!-- end of headline -->\nbetween\n<!-- claims" in text
    assert readme.filled(text) == text


def test_a_number_changed_by_hand_does_not_stay(two_experiments):
    text = readme.filled(TEXT)
    assert readme.filled(text.replace("**50.0 %**", "**60.0 %**")) == text


def test_the_file_itself_is_written(two_experiments):
    (two_experiments / "README.md").write_text(TEXT)
    readme.write_readme()
    assert (two_experiments / "README.md").read_text() == readme.filled(TEXT)


def test_a_claim_that_only_one_experiment_has_stands_at_its_own_name(two_experiments):
    path = two_experiments / "reports" / "tables" / "claims.csv"
    pd.read_csv(path).replace("1 a claim", "1 another claim").to_csv(path, index=False)
    rows = [line for line in readme.filled(TEXT).splitlines() if "claim |" in line][1:]
    assert rows[0].endswith("| - |")
    assert rows[1].startswith("| 1 another claim | - | reproduced here")


def test_a_readme_without_the_comments_is_refused_by_the_name_of_the_table(two_experiments):
    with pytest.raises(ValueError, match="has 0 tables 'claims'"):
        readme.filled(TEXT.replace("<!-- end of claims -->", ""))
