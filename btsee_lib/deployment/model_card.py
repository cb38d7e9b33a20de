"""The card that goes with a cascade that is taken away: what it is, what it reaches, where it ends."""

from torch import Tensor

from btsee_lib.deployment.cascade_file import Description

TEXT = """\
# {data_set} cascade

A ResNet18 of width {width} with {branches} early exits, made by this repository (notebook 06).
Each image leaves at the first branch that is sure enough of it, by a threshold for each class
and branch.

| file | is |
| --- | --- |
| `cascade.onnx` | one image at a time; really stops (nested `If`). Input `image`, uint8 {shape_one} |
| `stage_*.onnx` | a model for each stage with its branch, for batches (`btsee_lib.deployment.onnx_runner`) |
| `cascade.pt` | the same for PyTorch (`btsee_lib.deployment.cascade_file.load_cascade`), weights only |

Outputs: `label`, `exit` (0 is the first branch, {branches} the end of the backbone), `confidence`.
The normalisation and the thresholds are inside; classes, normalisation, margins and the numbers
below stand in the metadata.

## Measured

On the {images:,.0f} test images of {data_set}, this very cascade (one seed). Everything was chosen
on validation images.

| | |
| --- | --- |
| accuracy | {accuracy:.2f} % (the backbone alone: {backbone_accuracy:.2f} %) |
| computation saved | {saved:.1f} % of the backbone's {macs:.1f} million multiply-accumulates |
| images that leave at each exit | {shares} |

## Thresholds

On validation images, each class that a branch lets out is at least as often right as the backbone's is,
less a margin: of {margins} points, branch by branch. A negative margin asks for more than the
backbone's precision. Confidence needed to leave, by class predicted:

| class | {header} |
| --- | {rule} |
{thresholds}

## Limits

- Trained on {data_set} and nothing else: images of {shape} as in that set. Anything else gets a
  confident answer too.
- A threshold promises a precision on images like the validation images. Where those that come are
  harder, exits are less reliable (notebook 04).
- One trained network, one seed. Confidences near a threshold may fall on the other side with
  another runtime.
"""


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
    return TEXT.format(
        data_set=description.data_set,
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
