"""The parameters of an experiment, checked.

``params.yaml`` is the one place where parameters stand. Each of its sections is described by a
class below, and ``params("backbone")`` reads, checks and returns one of them. A stage of
``dvc.yaml`` names the sections that its notebook reads.
"""

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from btsee_lib.errors import ParameterError
from btsee_lib.experiment import current_experiment


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("input should be a number")
    return value


def _distinct(values: list) -> list:
    if len(set(values)) < len(values):
        raise ValueError("values should differ from each other")
    return values


Int = Annotated[int, BeforeValidator(_no_bool)]
Float = Annotated[float, BeforeValidator(_no_bool)]
Distinct = AfterValidator(_distinct)
Positive = Annotated[Int, Field(ge=1)]
Rate = Annotated[Float, Field(gt=0, le=10)]
Seed = Annotated[Int, Field(ge=0, lt=2**31)]
Margin = Annotated[Float, Field(ge=-1, le=1)]


class Section(BaseModel):
    """A section of ``params.yaml``: unknown keys are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataParameters(Section):
    name: str
    path: Annotated[str, Field(min_length=1)] | None
    image_size: Annotated[Int, Field(ge=8, le=1024)] | None
    mirrors: Annotated[list[Annotated[str, Field(pattern=r"^https?://\S+$")]], Distinct]
    drop_test_duplicates: StrictBool
    seed: Seed
    limit: Annotated[Int, Field(ge=100)] | None


class ComputeParameters(Section):
    precision: Literal["32-true", "bf16-mixed"]
    processes: Annotated[Int, Field(ge=1, le=1024)]


class BackboneParameters(Section):
    name: Annotated[str, Field(min_length=1)]
    width: Annotated[Int, Field(ge=8, le=256)]
    stem: Literal["small", "imagenet"]
    epochs: Positive
    reduced_epochs: Annotated[Int, Field(ge=0)]
    reduced_size: Annotated[Int, Field(ge=8)]
    batch_size: Positive
    learning_rate: Rate
    momentum: Annotated[Float, Field(ge=0, lt=1)]
    weight_decay: Annotated[Float, Field(ge=0, le=1)]
    label_smoothing: Annotated[Float, Field(ge=0, lt=1)]
    crop_padding: Annotated[Int, Field(ge=0, le=16)]
    seed: Seed


class FeatureParameters(Section):
    batch_size: Positive
    dtype: Literal["float32", "float16"]


class BranchParameters(Section):
    channels: Annotated[list[Positive], Field(min_length=1)]
    kernel_size: Literal[3, 5, 7, 9, 11]
    labels: Literal["truth", "backbone"]
    epochs: Positive
    batch_size: Positive
    learning_rate: Rate
    weight_decay: Annotated[Float, Field(ge=0, le=1)]


class BoostingParameters(Section):
    seeds: Annotated[list[Seed], Field(min_length=1), Distinct]
    margins: Annotated[list[Annotated[list[Margin], Field(min_length=1), Distinct]], Field(min_length=1)]
    bar_ceiling: Annotated[Float, Field(gt=0, le=2)]
    class_margins: Annotated[list[Margin], Field(min_length=2)] | None = None
    min_support: Positive
    min_survivors: Positive


class EvaluationParameters(Section):
    seed: Seed
    resamples: Annotated[Int, Field(ge=10)]
    confidence: Annotated[Float, Field(gt=0.5, lt=1)]
    max_drops: Annotated[list[Annotated[Float, Field(gt=0, le=100)]], Field(min_length=1), Distinct]


class DeploymentParameters(Section):
    max_drops: Annotated[list[Annotated[Float, Field(gt=0, le=100)]], Field(min_length=1), Distinct]
    published_drop: Annotated[Float, Field(gt=0, le=100)]
    threads: Annotated[Int, Field(ge=1, le=64)]
    static_width: Annotated[Int, Field(ge=8, le=256)]
    full_width: Annotated[Int, Field(ge=8, le=256)]
    latency_images: Annotated[Int, Field(ge=20)]
    batch_sizes: Annotated[list[Positive], Field(min_length=1), Distinct]
    rounds: Positive

    @field_validator("published_drop")
    @classmethod
    def _is_among_the_others(cls, value: float, others: ValidationInfo) -> float:
        if value not in others.data.get("max_drops", [value]):
            raise ValueError("value should be one of max_drops")
        return value


SECTIONS = {
    "data": DataParameters,
    "compute": ComputeParameters,
    "backbone": BackboneParameters,
    "features": FeatureParameters,
    "branches": BranchParameters,
    "boosting": BoostingParameters,
    "evaluation": EvaluationParameters,
    "deployment": DeploymentParameters,
}
NOT_EVERYWHERE = ("deployment",)  # a section that not every pipeline has


def params(section: str, path: Path | None = None) -> Section:
    """Read one section of ``params.yaml``, checked.

    Parameters
    ----------
    section : one of ``SECTIONS``.
    path : the file, by default the experiment's.

    Raises
    ------
    ParameterError
        If the file or the section cannot be used. The message names key, value and remedy.
    """
    path = Path(path or current_experiment().parameters)
    return checked_section(section, read_yaml(path), path.name)


def checked_section(section: str, everything: dict, file: str) -> Section:
    """Check one section of parameters that have been read from ``file``."""
    unknown = sorted(map(str, set(everything) - set(SECTIONS)))
    if unknown:
        raise ParameterError(f"{file}: unknown section '{unknown[0]}': use one of {', '.join(SECTIONS)}")
    if section not in SECTIONS or section not in everything:
        raise ParameterError(f"{file}: no section '{section}': use one of {', '.join(SECTIONS)}")
    try:
        return SECTIONS[section].model_validate(everything[section])
    except ValidationError as problem:
        raise ParameterError(_sentence(file, section, problem)) from None


def check_params(path: Path | None = None) -> None:
    """Check every section, and each against the others, so that a wrong value is found before any long work."""
    path = Path(path or current_experiment().parameters)
    everything = read_yaml(path)
    asked = [section for section in SECTIONS if section in everything or section not in NOT_EVERYWHERE]
    check_together({section: checked_section(section, everything, path.name) for section in asked}, path.name)


def check_together(sections: dict[str, Section], file: str) -> None:
    """Check sections that have been read from ``file`` against each other."""
    if "deployment" not in sections:
        return
    width, deployment = sections["backbone"].width, sections["deployment"]
    if deployment.static_width >= width:
        raise ParameterError(
            f"{file}: deployment.static_width is {deployment.static_width}: "
            f"take less than backbone.width, {width}"
        )
    if deployment.full_width == width:
        raise ParameterError(f"{file}: deployment.full_width is {width}, as backbone.width: take another")


def read_yaml(path: Path) -> dict:
    """Read a file of sections; what cannot be read is named with its remedy."""
    try:
        everything = yaml.load(path.read_text(), _EachKeyOnce)
    except (FileNotFoundError, IsADirectoryError):
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ParameterError(f"{path} {what}: restore it with 'git checkout params.yaml'") from None
    except UnicodeDecodeError:
        raise ParameterError(f"{path.name} is not text: restore it with 'git checkout params.yaml'") from None
    except RecursionError:
        raise ParameterError(f"{path.name} is nested too deeply: give sections, and values in them") from None
    except yaml.constructor.ConstructorError as problem:
        raise ParameterError(f"{path.name}, line {problem.problem_mark.line + 1}: {problem.problem}") from None
    except yaml.YAMLError as problem:
        place = getattr(problem, "problem_mark", None)
        line = f", line {place.line + 1}" if place else ""
        raise ParameterError(f"{path.name}{line}: this is not valid YAML: correct the line") from None
    except ValueError:  # of Python's int and date
        raise ParameterError(f"{path.name} holds a number or a date that cannot be one: correct it") from None
    if not isinstance(everything, dict):
        raise ParameterError(f"{path.name} holds no sections: restore it with 'git checkout params.yaml'")
    return everything


class _EachKeyOnce(yaml.SafeLoader):
    """YAML in which a key that stands twice is a mistake, and not the last one's right."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = []  # a key may be a list, which a set does not take
        for key, _ in node.value:
            if key.value in seen:
                told = f"the key {key.value} stands there twice: leave one of them"
                raise yaml.constructor.ConstructorError(None, None, told, key.start_mark)
            seen.append(key.value)
        return super().construct_mapping(node, deep)


def _sentence(file: str, section: str, problem: ValidationError) -> str:
    first = problem.errors()[0]
    key = ".".join(str(part) for part in (section, *first["loc"]))
    if first["type"] == "missing":
        return f"{file}: {key} is missing: add it"
    if first["type"] == "extra_forbidden":
        known = ", ".join(SECTIONS[section].model_fields)
        return f"{file}: {key} is not a parameter: the section {section} has {known}"
    first["msg"] = first["msg"].removeprefix("Value error, ")
    expected = first["msg"][0].lower() + first["msg"][1:]
    return f"{file}: {key} is {first['input']!r}: {expected}"
