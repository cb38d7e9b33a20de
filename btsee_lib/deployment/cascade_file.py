"""A cascade in one file: weights, thresholds, and a description of what they need and what they reach.

The file holds tensors and text only. Reading it runs no code that comes with it. A card tells people the same.
"""

from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor

from btsee_lib.backbone import BACKBONES
from btsee_lib.branches import new_branch
from btsee_lib.calibration import CPM
from btsee_lib.cascade import Cascade, check_thresholds
from btsee_lib.data.splits import Splits
from btsee_lib.exit_rules import EXIT_RULES
from btsee_lib.features import walk_stages

FORMAT = 3
CARD = Path(__file__).with_name("model_card.md")
PROMISE = """\
On validation images, each class that a branch lets out is at least as often right as the backbone's is,
less a margin: of {margins} points, branch by branch. A negative margin asks for more than the
backbone's precision. Confidence needed to leave, by class predicted:"""
OTHER_RULE = """\
The exit rule is *{rule}*, of `btsee_lib.exit_rules`, with {knobs} branch by branch. How sure a branch
has to be, as this rule measures it, by class predicted:"""


class CascadeFileError(ValueError):
    """A file holds no cascade that can be read here; the message tells why."""


class Description(BaseModel):
    """What a cascade needs to be rebuilt and used, and what was measured of it.

    ``mean`` and ``std``: a value a channel, on the scale 0 to 1. ``backbone`` and ``rule``: by their names in
    ``BACKBONES`` and ``EXIT_RULES``. ``margins``: of the configuration, in precision points. ``measured``:
    numbers on test images, by name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    data_set: str
    classes: tuple[str, ...] = Field(min_length=2)
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    backbone: str
    width: int
    stem: str
    branch_channels: tuple[int, ...]
    branch_kernel_size: int
    rule: str
    margins: tuple[float, ...]
    measured: dict[str, float]

    @model_validator(mode="after")
    def _checked(self) -> "Description":
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("two classes have one name: give each its own")
        least = np.finfo(np.float32).tiny  # below, 1 / std is infinite
        if not (np.isfinite([*self.mean, *self.std]).all() and min(self.std, default=1) >= least):
            raise ValueError(f"mean {self.mean} and std {self.std}: give finite numbers, std above 0")
        if not len(self.mean) == len(self.std) == self.image_shape[0]:
            raise ValueError(
                f"{len(self.mean)} values of mean and {len(self.std)} of std: "
                f"give {self.image_shape[0]}, one a channel"
            )
        return self

    normalise = Splits.normalise  # by the same two names


def new_cascade(description: Description, thresholds: Tensor | None = None) -> Cascade:
    """Build the cascade that is described, with fresh weights; by default nothing leaves early."""
    backbone = BACKBONES[description.backbone](
        num_classes=len(description.classes),
        in_channels=description.image_shape[0],
        width=description.width,
        stem=description.stem,
    ).eval()
    with torch.no_grad():
        squeezed, _ = walk_stages(backbone, torch.zeros(1, *description.image_shape))
    for name, given in (("margins", description.margins), ("channels", description.branch_channels)):
        if len(given) != len(squeezed):
            raise ValueError(f"{len(given)} {name} for {len(squeezed)} branches: give one a branch")
    classes, kernel_size = len(description.classes), description.branch_kernel_size
    branches = [
        new_branch(each.shape[1:], classes, channels, kernel_size)
        for each, channels in zip(squeezed, description.branch_channels, strict=True)
    ]
    if thresholds is None:
        thresholds = torch.full((len(branches), len(description.classes)), torch.inf)
    rule = EXIT_RULES[description.rule]
    return Cascade(backbone, branches, thresholds, description.image_shape, rule).requires_grad_(False)


def check_fit(cascade: Cascade, description: Description) -> None:
    """Raise a ValueError if the description is of another rule or number of classes, or a number is nan."""
    if EXIT_RULES[description.rule] is not cascade.rule:
        raise ValueError(
            f"the description names the exit rule '{description.rule}', the cascade has another: let them agree"
        )
    classes = cascade.backbone.num_classes
    if len(description.classes) != classes:
        raise ValueError(f"{len(description.classes)} class names for {classes} classes: give one a class")
    check_thresholds(cascade.thresholds, len(cascade.branches), classes)
    for name, values in cascade.state_dict().items():
        if name != "thresholds" and not values.isfinite().all():
            raise ValueError(f"{name} holds values that are no numbers: train the cascade again")


def save_cascade(path: Path, cascade: Cascade, description: Description) -> None:
    """Write a cascade and its description; the file gets its name only when it is whole.

    Raises
    ------
    ValueError
        If the description is not of this cascade, see ``check_fit``.
    """
    path = Path(path)
    check_fit(cascade, description)
    content = {"format": FORMAT, "description": description.model_dump_json(), "state": cascade.state_dict()}
    partial = path.with_name(f".{path.name}.partial")
    torch.save(content, partial)
    partial.replace(path)


def load_cascade(path: Path) -> tuple[Cascade, Description]:
    """Read a cascade that ``save_cascade`` wrote, on the CPU, ready to predict.

    Raises
    ------
    CascadeFileError
        If the file is missing, damaged, of another format, or its parts do not fit each other.
    """
    path = Path(str(path))
    if not path.is_file():
        what = "is no file" if path.exists() else "does not exist"
        raise CascadeFileError(f"{path} {what}: name a file that save_cascade wrote")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:
        raise CascadeFileError(
            f"{path.name} is damaged or is no cascade: get it again, or save it again"
        ) from None
    if not isinstance(content, dict):
        raise CascadeFileError(f"{path.name} is no cascade: name a file that save_cascade wrote")
    if content.get("format") != FORMAT:
        raise CascadeFileError(
            f"{path.name} is of format {content.get('format')}: this version reads format {FORMAT}; "
            "save the cascade again with save_cascade of this version"
        )
    try:
        description = Description.model_validate_json(content["description"])
        state = content["state"]
        cascade = new_cascade(description, state["thresholds"])
        cascade.load_state_dict(state)
        check_fit(cascade, description)
    except (KeyError, ValidationError, RuntimeError, ValueError, AttributeError, TypeError) as problem:
        first = (str(problem) or type(problem).__name__).splitlines()[0]
        if isinstance(problem, ValidationError):
            error = problem.errors()[0]
            first = " ".join(["description", *map(str, error["loc"])]) + f": {error['msg']}"
        raise CascadeFileError(
            f"{path.name} holds parts that do not fit each other ({first}): save it again"
        ) from None
    return cascade, description


def model_card(about: Description, thresholds: Tensor) -> str:
    """Write the card that goes with a cascade, in Markdown.

    Parameters
    ----------
    about : with the numbers ``images, accuracy, backbone_accuracy, reduction, backbone_macs``
        and ``exit1`` ... in ``measured``.
    thresholds : (B, K).
    """
    percent = {name: 100 * value for name, value in about.measured.items()}
    branches, sizes = range(1, len(thresholds) + 1), [str(size) for size in about.image_shape]
    shown = [
        ["never" if value == torch.inf else f"{value:.5f}" for value in row] for row in thresholds.T.tolist()
    ]
    promise = PROMISE if EXIT_RULES[about.rule] is CPM else OTHER_RULE
    return CARD.read_text().format(
        about=about,
        percent=percent,
        branches=len(branches),
        one_image=", ".join(["1", *sizes]),
        shape=" x ".join(sizes),
        images=about.measured["images"],
        macs=about.measured["backbone_macs"] / 1e6,
        shares=", ".join(f"{percent[f'exit{number}']:.1f} %" for number in range(1, len(branches) + 2)),
        promise=promise.format(
            rule=about.rule,
            margins=", ".join(f"{100 * margin:g}" for margin in about.margins),
            knobs=", ".join(f"{margin:g}" for margin in about.margins),
        ),
        header=" | ".join(f"branch {number}" for number in branches),
        rule=" | ".join("---" for _ in branches),
        thresholds="\n".join(
            f"| {' | '.join([n, *row])} |" for n, row in zip(about.classes, shown, strict=True)
        ),
    )
