"""The card that goes with a cascade that is taken away: what it is, what it reaches, where it ends."""

from pathlib import Path

from torch import Tensor

from btsee_lib.deployment.cascade_file import Description

TEMPLATE = Path(__file__).with_suffix(".md")


def model_card(description: Description, thresholds: Tensor) -> str:
    """Write the card of a cascade, in Markdown.

    Parameters
    ----------
    description : with the numbers ``images, accuracy, backbone_accuracy, reduction, backbone_macs``
        and ``exit1`` ... in ``measured``.
    thresholds : (B, K).
    """
    measured, branches = description.measured, len(thresholds)
    rows = zip(description.classes, thresholds.T.tolist(), strict=True)
    shape = " x ".join(str(size) for size in description.image_shape)
    return TEMPLATE.read_text().format(
        data_set=description.data_set,
        backbone=description.backbone,
        width=description.width,
        branches=branches,
        shape_one=f"(1, {', '.join(str(size) for size in description.image_shape)})",
        shape=shape,
        images=measured["images"],
        accuracy=100 * measured["accuracy"],
        backbone_accuracy=100 * measured["backbone_accuracy"],
        saved=100 * measured["reduction"],
        macs=measured["backbone_macs"] / 1e6,
        shares=", ".join(f"{100 * measured[f'exit{number}']:.1f} %" for number in range(1, branches + 2)),
        margins=", ".join(f"{100 * margin:g}" for margin in description.margins),
        header=" | ".join(f"branch {number}" for number in range(1, branches + 1)),
        rule=" | ".join(["---"] * branches),
        thresholds="\n".join(f"| {name} | {' | '.join(map(_shown, row))} |" for name, row in rows),
    )


def _shown(threshold: float) -> str:
    return "never" if threshold == float("inf") else f"{threshold:.5f}"
