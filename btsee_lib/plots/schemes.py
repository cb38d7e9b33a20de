"""The figures of notebook 09: every way to train a cascade beside the others."""

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from btsee_lib.evaluation import BTS_EE, CALIBRATION_ALONE
from btsee_lib.plots.panels import curve_of_drops, frame_of_drops, gain_map, headline, heat_map, panels_of
from btsee_lib.plots.style import BESIDE, BLUE, GREEN, GREY, INK, ORANGE, RULE_COLOURS, drawn_from_table
from btsee_lib.studies.other_ways import best_offers, both_ways, drop_at_equal_compute, of_middle_drop


@drawn_from_table
def sample_weights(table: pd.DataFrame) -> Figure:
    """What a training sample weighs, by how far above the threshold it lies: ``training, excess, weight``."""
    figure, axes = plt.subplots(figsize=(7.5, 3.2))
    for (name, rows), colour in zip(table.groupby("training", sort=False), RULE_COLOURS, strict=False):
        axes.plot(rows["excess"], rows["weight"], color=colour, lw=2, label=name)
    axes.axvline(0, color=GREY, lw=1)
    axes.annotate("stays", (-0.03, 1.08), ha="right", color=GREY)
    axes.annotate("leaves", (0.03, 1.08), color=GREY)
    axes.set_title("The hard filter is one of many: what a sample weighs for the next branch")
    axes.set_xlabel("confidence less threshold, at the branch before")
    axes.set(ylabel="weight in training", ylim=(-0.05, 1.2))
    axes.legend(**BESIDE)
    return figure


@drawn_from_table
def scheme_standings(table: pd.DataFrame) -> Figure:
    """Gain at equal compute, a row a scheme (``other_ways.standings``, with ``data_set``)."""
    figure, panels = panels_of(table, "data_set", (7, 3.8), columns=1)
    for data_set, rows, axes in panels:
        rows = rows.drop_duplicates("training").sort_values("gain")
        others = rows[rows["training"] != CALIBRATION_ALONE.training]
        reach = [rows["gain"] - rows["gain_low"], rows["gain_high"] - rows["gain"]]
        axes.errorbar(rows["gain"], rows["training"], xerr=reach, fmt="o", color=BLUE, lw=1.5)
        axes.axvline(0, color=INK, lw=1)
        ahead = f"{int(others['gain_low'].gt(0).sum())} of {len(others)} ahead, one comparison at a time"
        axes.set(xlabel="accuracy gained at equal compute over independent branches (points)")
        axes.set_title(f"{data_set}: {ahead}")
    return figure


@drawn_from_table
def scheme_pairs(table: pd.DataFrame) -> Figure:
    """Who gains over whom at equal compute, told where the interval for all pairs at once leaves out zero."""
    names = list(dict.fromkeys([*table["training"], *table["over"]]))
    figure, panels = panels_of(table, "data_set", (9, 6), columns=1)
    for data_set, rows, axes in panels:
        both = both_ways(rows)
        certain = both["gain_low"].gt(0) | both["gain_high"].lt(0)
        both["words"] = both["gain"].map("{:+.2f}".format).where(certain, "")
        gains, words = (
            both.pivot(index="training", columns="over", values=each).reindex(index=names, columns=names)
            for each in ("gain", "words")
        )
        farthest = table["gain"].abs().max()
        gain_map(axes, gains, farthest, 8, annot=words.fillna(""), fmt="")
        told = f"in {certain.sum() // 2} of {len(both) // 2} pairs the interval leaves out 0 (points)"
        axes.set(xlabel="over", ylabel="gain of", title=f"{data_set}: {told}")
        axes.set_xticklabels(names, rotation=40, ha="right")
    return figure


@drawn_from_table
def scheme_effort(table: pd.DataFrame) -> Figure:
    """Gain over independent branches of as many visits, by the visits (``effort.accuracy_by_effort``)."""
    later = table[table["branch"] > 1]
    names, gains = later["training"].unique(), []
    figure, panels = panels_of(later, ["data_set", "branch"], (4, 4.4), beside=1, columns=2, sharey=True)
    for (data_set, branch), rows, axes in panels:
        accuracy = rows.pivot(index="training", columns="epochs", values="valid_accuracy")
        gains.append(100 * (accuracy - accuracy.loc[CALIBRATION_ALONE.training]).reindex(names))
        farthest = max(gains[-1].abs().max(axis=None), 1)
        gain_map(axes, gains[-1], farthest, 9, annot=True, fmt="+.1f")
        axes.set(xlabel="visits (epochs)", ylabel="", title=f"{data_set}, branch {branch}")
    if BTS_EE.training in names:
        (data_set, branch), *_ = panels[0]
        gained = gains[0].loc[BTS_EE.training].dropna()
        told = ", ".join(f"{value:+.1f} with {epochs:g}" for epochs, value in gained.iloc[[0, -1]].items())
        headline(figure, f"Points gained on survivors; {data_set}, boosted, branch {branch}: {told} epochs")
    return figure


@drawn_from_table
def scheme_levers(table: pd.DataFrame) -> Figure:
    """What each choice of a lever gains at equal compute, with its interval (``levers.levers``)."""
    figure, panels = panels_of(table, "data_set", (7.5, 3.8), columns=1, sharex=True)
    for data_set, rows, axes in panels:
        axes.axvline(0, color=INK, lw=1)
        axes.hlines(rows["lever"], rows["gain_low"], rows["gain_high"], color=BLUE, lw=1, alpha=0.4)
        axes.plot(rows["gain"], rows["lever"], "o", color=BLUE)
        for _, of_lever in rows.groupby("lever", sort=False):
            for place, shift in {of_lever["gain"].idxmin(): 9, of_lever["gain"].idxmax(): -15}.items():
                row = rows.loc[place]
                told = {"xytext": (0, shift), "textcoords": "offset points", "ha": "center", "fontsize": 8}
                axes.annotate(f"{row['choice']} {row['gain']:+.2f}", (row["gain"], row["lever"]), **told)
        worst, best = rows.loc[rows["gain"].idxmin()], rows.loc[rows["gain"].idxmax()]
        best, worst = (f"{row['gain']:+.1f} by the {row['lever']}" for row in (best, worst))
        axes.margins(x=0.15, y=0.15)
        axes.set(xlabel="accuracy gained at equal compute (points),\nover independent branches under CPM")
        axes.set_title(f"{data_set}: at most {best}, at worst {worst}")
    return figure


@drawn_from_table
def scheme_rules(table: pd.DataFrame) -> Figure:
    """Accuracy drop by scheme and exit rule (``other_ways.drop_at_equal_compute``, with ``data_set``)."""
    figure, panels = panels_of(table, "data_set", (7, 4.6), columns=1)
    for data_set, rows, axes in panels:
        grid = _heat_by_rule(axes, rows, "drop", ".2f", "accuracy drop (points)")
        beyond = grid - grid.loc[CALIBRATION_ALONE.training]
        scheme, rule = beyond.stack().idxmax()
        told = f"{scheme}, under {rule}, loses {beyond.loc[scheme, rule]:.1f} points more than independent"
        axes.set_title(f"{data_set}: {told}")
    return figure


def _heat_by_rule(axes: Axes, rows: pd.DataFrame, values: str, digits: str, name: str) -> pd.DataFrame:
    """Draw the values of one column by scheme and exit rule, in the order of the rows, and return them so."""
    grid = rows.pivot(index="training", columns="rule", values=values)
    grid = grid.loc[rows["training"].unique(), rows["rule"].unique()]
    heat_map(axes, grid, digits, name)
    axes.set(xlabel="", ylabel="")
    axes.set_xticklabels(grid.columns, rotation=30, ha="right")
    return grid


@drawn_from_table
def scheme_offers(table: pd.DataFrame) -> Figure:
    """What schemes save on test under each rule, for the middle drop of those allowed (``offers``)."""
    table = of_middle_drop(table).assign(saved=lambda rows: 100 * rows["reduction"])
    allowed = table["max_drop"].iloc[0]
    figure, panels = panels_of(table, "data_set", (7, 4.6), columns=1)
    for data_set, rows, axes in panels:
        grid = _heat_by_rule(axes, rows, "saved", ".1f", "MACs saved (%)")
        ((_, best),) = best_offers(rows).iterrows()
        place = grid.columns.get_loc(best["rule"]), grid.index.get_loc(best["training"])
        axes.add_patch(Rectangle(place, 1, 1, fill=False, ec=ORANGE, lw=3, clip_on=False))
        told = f"for {allowed:g} points on valid, {best['training']} under {best['rule']} saves most"
        axes.set_title(f"{data_set}: {told}")
    return figure


@drawn_from_table
def scheme_fronts(table: pd.DataFrame) -> Figure:
    """Drop against computation saved by scheme and rule (``other_ways.best_curves``, with ``data_set``)."""
    figure, panels = panels_of(table, "data_set", (6.5, 4), beside=2.5, columns=1)
    for data_set, rows, axes in panels:
        groups = rows.groupby(["training", "rule"], sort=False)
        colours = [*RULE_COLOURS[: groups.ngroups - 1], INK]  # the last one is the paper's
        for ((training, rule), each), colour in zip(groups, colours, strict=True):
            each = each.sort_values("reduction")
            saved, label = 100 * each["reduction"], f"{training}, {rule}"
            axes.plot(saved, each["drop"], "o-", ms=4, color=colour, label=label)
        drops = drop_at_equal_compute(rows)["drop"]
        told = f"the paper's way loses {drops.iloc[-1] - drops.iloc[0]:.1f} points more than the best"
        frame_of_drops(axes, f"{data_set}: {told}", **BESIDE)
    return figure


@drawn_from_table
def gains_over_networks(table: pd.DataFrame) -> Figure:
    """Gain of schemes and rules over narrower networks (``rivals.against_networks``, ``data_set``)."""
    figure, panels = panels_of(table, "data_set", (6.5, 3.6), beside=2.5, columns=1)
    for data_set, of_data_set, axes in panels:
        pairs = of_data_set.groupby(["training", "rule"], sort=False)
        colours = dict(zip(of_data_set["training"].unique()[::-1], (INK, BLUE, ORANGE), strict=False))
        lines = dict(zip(of_data_set["rule"].unique()[::-1], ("--", "-"), strict=False))  # the paper's last
        for place, ((training, rule), rows) in enumerate(pairs):
            saved, mean, colour = 100 * rows["reduction"], rows["gain"].iloc[-1], colours[training]
            if place in (0, pairs.ngroups - 1):  # the best ones, and the paper's
                axes.fill_between(saved, rows["low"], rows["high"], color=colour, alpha=0.15, lw=0)
            axes.plot(saved, rows["gain"], lines[rule], color=colour, label=f"{training}, {rule}: {mean:+.2f}")
        axes.axhline(0, color=INK, lw=1)
        axes.set(xlabel="computation saved (% of the backbone's MACs)", ylabel="accuracy gained (points)")
        axes.set_title(f"{data_set}: above 0 the cascade is ahead of a network that is simply narrower")
        axes.legend(title="scheme, rule: mean up to half saved", **BESIDE)
    return figure


@drawn_from_table
def joint_exits(table: pd.DataFrame) -> Figure:
    """Accuracy that each exit gains by joint training, a dot an exit (``freezing.exits_beside``)."""
    figure, panels = panels_of(table, "data_set", (5.4, 3.2), sharey=True)
    for data_set, rows, axes in panels:
        reach = [rows["gain"] - rows["low"], rows["high"] - rows["gain"]]
        axes.errorbar(rows["exit"], rows["gain"], yerr=reach, fmt="o", color=GREEN, lw=1.5)
        axes.axhline(0, color=INK, lw=1)
        names = [f"branch {exit}" for exit in rows["exit"][:-1]] + ["backbone"]
        axes.set_xticks(rows["exit"], names)
        first, last = rows["gain"].iloc[[0, -1]]
        axes.set(xlabel="exit", ylabel="accuracy gained on all images (points)")
        axes.set_title(f"{data_set}: {first:+.1f} at the first exit, {last:+.1f} at the last")
    return figure


@drawn_from_table
def joint_fronts(table: pd.DataFrame) -> Figure:
    """Fronts of a joint network and of independent branches (``freezing.fronts_beside``, ``data_set``)."""
    names = {"independent": "independent branches, backbone frozen", "joint": "trained jointly"}
    figure, panels = panels_of(table, "data_set", (6, 3.6))
    for data_set, of_data_set, axes in panels:
        for (training, label), colour in zip(names.items(), (BLUE, GREEN), strict=True):
            rows = of_data_set[of_data_set["training"] == training].sort_values("reduction")
            curve_of_drops(axes, rows, colour, label)
        least = of_data_set.groupby("training")["drop"].min()
        told = f"least drop {least['independent']:.2f} points frozen, {least['joint']:.2f} trained jointly"
        frame_of_drops(axes, f"{data_set}: {told}", "MACs saved (%)")
        axes.set_ylabel("drop from the frozen backbone (points)")
    return figure


@drawn_from_table
def gains_by_images(table: pd.DataFrame) -> Figure:
    """What boosting gains, by the number of training images, a panel a branch (``fewer_images.over_seeds``).

    ``data_set, branch, train_images, gain, low, high`` (points), ``measured``: false where a line goes on.
    """
    figure, panels = panels_of(table, "branch", (5, 3.8), sharey=True)
    colours = dict(zip(table["data_set"].unique(), RULE_COLOURS, strict=False))
    for number, mine, axes in panels:
        for (name, measured), rows in mine.groupby(["data_set", "measured"], sort=False):
            reach = [rows["gain"] - rows["low"], rows["high"] - rows["gain"]]
            look = {"fmt": "o-", "ms": 6} if measured else {"fmt": "D", "ms": 8, "mfc": "white"}
            axes.errorbar(rows["train_images"], rows["gain"], reach, color=colours[name], label=name, **look)
        axes.axhline(0, color=GREY, lw=1)
        axes.set(xscale="log", xlabel="training images (logarithmic)", title=f"branch {number}")
        axes.minorticks_off()
        ticks = mine["train_images"].unique()
        axes.set_xticks(ticks, [f"{images:,}" for images in ticks], rotation=60, fontsize=9)
    figure.axes[0].set_ylabel("boosted less independent (points)")
    figure.axes[-1].legend(loc="lower right", fontsize=9)
    headline(figure, "What training on survivors gains on the same test images, as training images become more")
    return figure
