"""Fill the README's tables from the results in git: no measured number in them is typed.

A table, or a list, stands between two comments, ``<!-- NAME: ... -->`` and ``<!-- end of NAME -->``.
"""

import json
import re
from pathlib import Path

import pandas as pd

from btsee_lib.config import params
from btsee_lib.evaluation import CALIBRATION_ALONE
from btsee_lib.experiment import repository_root
from btsee_lib.pipeline.publishing import CLAIMS
from btsee_lib.store.measured import measured_comparison
from btsee_lib.store.reports import METRICS, claims_of_profiles
from btsee_lib.studies.claims import side_by_side
from btsee_lib.studies.other_ways import best_offers, drop_at_equal_compute

README, TIME_METRICS = "README.md", "metrics_10_time.json"


def write_readme() -> None:
    """Write the tables of the README anew."""
    path = repository_root() / README
    path.write_text(filled(path.read_text()))


def filled(text: str) -> str:
    """Return the text of a README with its tables as the results in git have them."""
    homes = experiments()
    tables = (headline, claims, backbones, static)
    blocks = {each.__name__: each(homes) for each in tables} | {"advice": advice()}
    for name, lines in blocks.items():
        block = re.compile(rf"(<!-- {name}: [^>]*-->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        rows = "\n".join(lines) + "\n"
        text, number = block.subn(lambda found, rows=rows: f"{found[1]}{rows}{found[2]}", text)
        if number != 1:
            raise ValueError(f"{README} has {number} tables '{name}' between their comments: keep one")
    return text


def experiments() -> dict[str, Path]:
    """Where the results of experiments lie, by what to call them: profiles that have any, then the main one."""
    found = {}
    for profile in (*claims_of_profiles(), None):
        home = repository_root() / "reports" / (profile or "")
        file = (home if profile else home.parent) / "params.yaml"
        name = f"{params('data', file).name}, width {params('backbone', file).width}"
        found[f"{name} (`{profile}`)" if profile else name] = home
    return found


def headline(homes: dict[str, Path]) -> list[str]:
    """What early exits save, by experiment and allowed drop, as the rows of a table."""
    drops = params("evaluation").max_drops
    wanted = " | ".join(f"saved for at most {drop:g} points on valid" for drop in drops)
    rows = [f"| experiment | backbone | {wanted} |", "| --- " * (2 + len(drops)) + "|"]
    for name, home in homes.items():
        numbers = json.loads((home / METRICS).read_text())
        cells = [_saved(numbers, f"recommended.{drop:g}") for drop in drops]
        accuracy = f"{numbers['backbone.test_accuracy']:.1f} %"
        rows.append(f"| {name} | {accuracy} | {' | '.join(cells)} |")
    return rows


def _saved(numbers: dict, key: str) -> str:
    if f"{key}.drop" not in numbers:
        return "no configuration"
    span = " to ".join(f"{100 * numbers[f'{key}.reduction_{end}']:.1f}" for end in ("low", "high"))
    drops = " to ".join(f"{numbers[f'{key}.drop_{end}']:.2f}" for end in ("low", "high"))
    saved, drop = 100 * numbers[f"{key}.reduction"], numbers[f"{key}.drop"]
    return f"**{saved:.1f} %** ({span}) at {drop:.2f} ({drops})"


def claims(homes: dict[str, Path]) -> list[str]:
    """The verdict on every claim in every experiment, as the rows of a table."""
    tables = {name: pd.read_csv(home / "tables" / CLAIMS) for name, home in homes.items()}
    rows = [f"| claim | {' | '.join(tables)} |", "| --- " * (1 + len(tables)) + "|"]
    return rows + [f"| {' | '.join(row)} |" for row in side_by_side(tables).itertuples(index=False)]


def backbones(homes: dict[str, Path]) -> list[str]:
    """How many verdicts other backbones share, an item an experiment in which others were trained."""
    paths = {name: home / "tables" / "claims_over_backbones.csv" for name, home in homes.items()}
    return [_of_backbones(name, pd.read_csv(path)) for name, path in paths.items() if path.is_file()]


def _of_backbones(name: str, table: pd.DataFrame) -> str:
    most, other = table["backbones"].max(), table[table["same"] < table["backbones"]]
    apart = "; ".join(f"{row.claim} ({row.same} of {row.backbones})" for row in other.itertuples())
    same = f"{len(table) - len(other)} of {len(table)} verdicts are the same on all {most} backbones"
    return f"- **{name}**: {same}{f'; the others: {apart}' if apart else ''}."


def static(homes: dict[str, Path]) -> list[str]:
    """BTS-EE beside a narrower network that never stops early, an item an experiment (notebook 10)."""
    timed = {name: home for name, home in homes.items() if (home / TIME_METRICS).is_file()}
    return [_of_static(name, home) for name, home in timed.items()]


def _of_static(name: str, home: Path) -> str:
    drop = f"{params('deployment').published_drop:g}"
    numbers = json.loads((home / METRICS).read_text()) | json.loads((home / TIME_METRICS).read_text())
    gain, low, high = (numbers[f"deployment.gain_over_static{end}"] for end in ("", "_low", "_high"))
    spent = 100 - 100 * numbers[f"recommended.{drop}.reduction"]
    return (
        f"- **{name}**: the network takes {100 * numbers['deployment.static_cost']:.0f} % of the MACs, "
        f"the cascades that are recommended for {drop} point {spent:.0f} %; "
        f"these are {gain:+.2f} points ({low:+.2f} to {high:+.2f}) more accurate."
    )


def advice() -> list[str]:
    """Which scheme and which exit rule to take, an item a data set (notebook 09)."""
    rows = []
    for data_set, tables in measured_comparison("other_ways").items():
        rows.append(f"- **{data_set}**: {_of_schemes(tables['standings'])} {_of_rules(tables['rules'])}")
        rows += [_of_offer(row) for row in best_offers(tables["offers"]).to_dict("records")]
    return rows


def _of_schemes(standings: pd.DataFrame) -> str:
    standings = standings.drop_duplicates("training")
    ahead = int((standings["gain_low"] > 0).sum())
    first = standings.loc[standings["gain"].idxmax()]
    gain = f"{first['gain']:+.2f} points ({first['gain_low']:+.2f} to {first['gain_high']:+.2f})"
    are = "is" if ahead == 1 else "are"
    return (
        f"at equal computation {ahead} of {len(standings) - 1} schemes {are} ahead of independent branches "
        f"by more than the interval of one comparison; on test *{first['training']}* is first with {gain}."
    )


def _of_offer(row: dict) -> str:
    saved, low, high = (100 * row[f"reduction{end}"] for end in ("", "_low", "_high"))
    drop = f"{row['drop']:.2f} points ({row['drop_low']:.2f} to {row['drop_high']:.2f})"
    return (
        f"  - most saved for at most {row['max_drop']:g} points on valid: "
        f"*{row['training']}* under *{row['rule']}*, on test {saved:.1f} % ({low:.1f} to {high:.1f}) at {drop}"
    )


def _of_rules(curves: pd.DataFrame) -> str:
    curves = curves[curves["training"] == CALIBRATION_ALONE.training]
    valid, test = (drop_at_equal_compute(curves, each).set_index("rule")["drop"] for each in ("valid", "test"))
    chosen = valid.idxmin()
    return (
        f"Of rules for independent branches *{chosen}* drops least on valid; on test its drop is "
        f"{test[chosen]:+.2f} points, over all that every rule can save, and that of CPM {test['CPM']:+.2f}."
    )
