"""Cascades in ONNX Runtime. Needs numpy and onnxruntime only, so it goes where torch does not."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime

FORMAT = 3
LISTS = ("classes", "image_shape", "mean", "std", "thresholds")
FIELDS = dict.fromkeys(LISTS, list) | {"segments": int, "exit": int, "digest": str}
RANGE = np.finfo(np.float32)


class Answers(NamedTuple):
    """For each image (N,): its label, the exit it took (0 .. B, B is the backbone), its confidence."""

    label: np.ndarray
    exit: np.ndarray
    confidence: np.ndarray


class OnnxFileError(ValueError):
    """A file holds no model that can be used here; the message tells why."""


class OnnxCascade:
    """The single model, which takes one image at a time and stops by itself.

    Parameters
    ----------
    path : a model that ``onnx_export.export`` wrote, ``cascade.onnx``.
    threads : CPU threads of one run.
    """

    def __init__(self, path: Path, threads: int = 1):
        self.session, self.metadata = open_model(path, threads)
        if self.session.get_inputs()[0].name != "image":
            raise OnnxFileError(
                f"{Path(path).name} is the model of a stage: name cascade.onnx, or use OnnxStages"
            )

    def predict(self, images: np.ndarray) -> Answers:
        """Classify raw images uint8 (N, C, H, W), one after the other."""
        answers = _no_answers(images, self.metadata)
        for position in range(len(images)):
            found = self.session.run(None, {"image": images[position : position + 1]})
            for values, value in zip(answers, found, strict=True):
                values[position] = value[0]
        return _checked(answers, self.metadata)


class OnnxStages:
    """The models of the stages: after each, those that leave are taken out of the batch.

    Parameters
    ----------
    folder : holds the models that ``onnx_export.export`` wrote.
    threads : CPU threads of one run.
    """

    def __init__(self, folder: Path, threads: int = 1):
        opened = [open_model(path, threads) for path in Path(str(folder)).glob("stage_*.onnx")]
        if not opened:
            raise OnnxFileError(f"{folder} holds no stage_*.onnx: name a folder that onnx_export.export wrote")
        self.sessions, told = zip(*sorted(opened, key=lambda pair: pair[1]["exit"]), strict=True)
        self.metadata, self.exits = told[0], [each["exit"] for each in told]
        if len({each["digest"] for each in told}) > 1:
            raise OnnxFileError(f"{folder} holds models of several exports: export all of them again")
        found, expected = len(set(self.exits)), self.metadata["segments"]
        if not found == len(told) == expected:
            raise OnnxFileError(
                f"{folder} holds {len(told)} models, of {found} of {expected} exits: export all of them again"
            )
        self.inputs = [session.get_inputs()[0].name for session in self.sessions]

    def predict(self, images: np.ndarray) -> Answers:
        """Classify raw images uint8 (N, C, H, W) in one batch; the order of results is theirs."""
        answers = _no_answers(images, self.metadata)
        remaining, entering, told = np.arange(len(images)), images, []
        for session, name, number in zip(self.sessions, self.inputs, self.exits, strict=True):
            if len(remaining) == 0:
                break
            label, confidence, *rest = session.run(None, {name: entering})
            told.append(confidence)
            # Of those that go on, the next exit overwrites this.
            answers.label[remaining], answers.confidence[remaining] = label, confidence
            answers.exit[remaining] = number
            if rest:
                feature_map, leaves = rest
                remaining, entering = remaining[~leaves], feature_map[~leaves]
        return _checked(answers, self.metadata, told)


def _no_answers(images: np.ndarray, metadata: dict[str, Any]) -> Answers:
    """Make room for the answers to images, if these are uint8 (N, C, H, W) of the model's size."""
    expected = tuple(metadata["image_shape"])
    is_array = isinstance(images, np.ndarray)
    if not is_array or images.dtype != np.uint8 or images.shape[1:] != expected:
        sizes = ", ".join(str(size) for size in expected)
        found = f"{images.dtype} {images.shape}" if is_array else f"of the type {type(images).__name__}"
        raise ValueError(f"images are {found}: expected uint8 (N, {sizes})")
    return Answers(*(np.zeros(len(images), kind) for kind in (np.int64, np.int64, np.float32)))


def _checked(answers: Answers, metadata: dict[str, Any], told: Sequence[np.ndarray] = ()) -> Answers:
    """Return the answers, if all classes have names and all confidences, those ``told`` too, are numbers."""
    if not np.isfinite(np.concatenate([answers.confidence, *told])).all():
        raise OnnxFileError("the model's answers are no numbers, its weights are damaged: export it again")
    number = len(metadata["classes"])
    if answers.label.max(initial=0) >= number:
        raise OnnxFileError(f"the model has more classes than its {number} names: export it again")
    return answers


def open_model(path: Path, threads: int = 1) -> tuple[onnxruntime.InferenceSession, dict[str, Any]]:
    """Open a model on the CPU, and read what it says of itself: classes, image shape, margins, accuracy.

    Raises
    ------
    OnnxFileError
        If the file is missing, damaged, or of another format.
    """
    path = Path(str(path))
    if not path.is_file():
        what = "is no file" if path.exists() else "does not exist"
        raise OnnxFileError(f"{path} {what}: name a model that onnx_export.export wrote")
    if not isinstance(threads, int) or threads < 1:
        raise OnnxFileError(f"threads is {threads!r}: give a whole number above 0")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3  # errors only
    # The threads of several models would wait for work at full speed and hold each other up.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception:
        raise OnnxFileError(f"{path.name} is damaged or is no ONNX model: export it again") from None
    try:
        told = {name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()}
    except ValueError:  # of another maker, whose metadata are no JSON
        told = {}
    if (found := told.get("format")) != FORMAT:
        raise OnnxFileError(f"{path.name} is of format {found}: this version reads {FORMAT}; export it again")
    if problem := _problem(told, session.get_inputs()[0]):
        raise OnnxFileError(f"{path.name} {problem}: export it again")
    return session, told


def _problem(told: dict[str, Any], entering: onnxruntime.NodeArg) -> str:
    """Say what is wrong with what a model tells of itself, "" if nothing is."""
    for name, kind in FIELDS.items():
        if type(told.get(name)) is not kind:  # true is an int too
            return f"does not tell its {name}"
    classes, thresholds, shape = told["classes"], told["thresholds"], told["image_shape"]
    if not all(isinstance(name, str) for name in classes):
        return "has classes without a name"
    if len(set(classes)) < len(classes):
        return "has two classes of one name"
    if any(not isinstance(row, list) or len(row) != len(classes) for row in thresholds):
        return f"has {len(classes)} class names and thresholds of another number of classes"
    if not all(value is None or _is_number(value) for row in thresholds for value in row):
        return "has thresholds that are no numbers"
    number = len(thresholds)
    if not (0 <= told["exit"] <= number and 0 < told["segments"] <= number + 1):
        return (
            f"has the exit {told['exit']} of {told['segments']} segments, and thresholds of {number} branches"
        )
    if len(shape) != 3 or not all(type(side) is int and side > 0 for side in shape):
        return "has an image shape that is not three numbers above 0"
    if entering.name != "entering" and entering.shape[1:] != shape:
        return f"takes images of another shape than {shape}"
    if {len(told["mean"]), len(told["std"])} != {shape[0]} or not all(map(_is_number, told["mean"])):
        return f"does not normalise each of its {shape[0]} channels by a mean and a standard deviation"
    # Below the smallest float32 of full precision, 1 / std would be infinite.
    if not all(_is_number(value) and value >= RANGE.tiny for value in told["std"]):
        return "divides pixels by a standard deviation that is no number above 0"
    return ""


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= float(RANGE.max)  # nan is not


def operators_run(path: Path, image: np.ndarray, segments: Sequence[str]) -> dict[str, int]:
    """Count the operators of each segment that a single model ran for an image, as ONNX Runtime notes them.

    The graph is run as it was exported, not optimised, so that operators keep their names.

    Parameters
    ----------
    image : raw, uint8 (1, C, H, W).
    segments : names such as ``stage_1``, the beginnings of the operators' names.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.enable_profiling, options.profile_file_prefix = True, str(Path(folder) / "profile")
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        session.run(None, {"image": image})
        events = json.loads(Path(session.end_profiling()).read_text())
    ran = {event["name"] for event in events if event.get("cat") == "Node"}
    return {segment: sum(name.startswith(f"{segment}/") for name in ran) for segment in segments}
