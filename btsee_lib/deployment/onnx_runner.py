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
FIELDS = dict.fromkeys(LISTS, list) | {"segments": int, "exit": int}


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
        return _finite(answers)


class OnnxStages:
    """The models of the stages: after each, those that leave are taken out of the batch.

    Parameters
    ----------
    folder : holds the models that ``onnx_export.export`` wrote.
    threads : CPU threads of one run.
    """

    def __init__(self, folder: Path, threads: int = 1):
        paths = sorted(Path(folder).glob("stage_*.onnx"))
        if not paths:
            raise OnnxFileError(f"{folder} holds no stage_*.onnx: name a folder that onnx_export.export wrote")
        self.sessions, told = zip(*(open_model(path, threads) for path in paths), strict=True)
        self.metadata, self.exits = told[0], [each["exit"] for each in told]
        if len({each.get("digest") for each in told}) > 1:
            raise OnnxFileError(f"{folder} holds models of several exports: export all of them again")
        if len(paths) != self.metadata["segments"]:
            raise OnnxFileError(
                f"{folder} holds {len(paths)} models of {self.metadata['segments']}: export all of them again"
            )
        self.inputs = [session.get_inputs()[0].name for session in self.sessions]

    def predict(self, images: np.ndarray) -> Answers:
        """Classify raw images uint8 (N, C, H, W) in one batch; the order of results is theirs."""
        answers = _no_answers(images, self.metadata)
        remaining, entering = np.arange(len(images)), images
        for session, name, number in zip(self.sessions, self.inputs, self.exits, strict=True):
            if len(remaining) == 0:
                break
            label, confidence, *rest = session.run(None, {name: entering})
            # Of those that go on, the next exit overwrites this.
            answers.label[remaining], answers.confidence[remaining] = label, confidence
            answers.exit[remaining] = number
            if rest:
                feature_map, leaves = rest
                remaining, entering = remaining[~leaves], feature_map[~leaves]
        return _finite(answers)


def _no_answers(images: np.ndarray, metadata: dict[str, Any]) -> Answers:
    """Make room for the answers to images, if these are uint8 (N, C, H, W) of the model's size."""
    expected = tuple(metadata["image_shape"])
    is_array = isinstance(images, np.ndarray)
    if not is_array or images.dtype != np.uint8 or images.shape[1:] != expected:
        sizes = ", ".join(str(size) for size in expected)
        found = f"{images.dtype} {images.shape}" if is_array else f"of the type {type(images).__name__}"
        raise ValueError(f"images are {found}: expected uint8 (N, {sizes})")
    return Answers(*(np.zeros(len(images), kind) for kind in (np.int64, np.int64, np.float32)))


def _finite(answers: Answers) -> Answers:
    if not np.isfinite(answers.confidence).all():
        raise OnnxFileError("the model's answers are no numbers, its weights are damaged: export it again")
    return answers


def open_model(path: Path, threads: int = 1) -> tuple[onnxruntime.InferenceSession, dict[str, Any]]:
    """Open a model on the CPU, and read what it says of itself: classes, image shape, margins, accuracy.

    Raises
    ------
    OnnxFileError
        If the file is missing, damaged, or of another format.
    """
    path = Path(path)
    if not path.is_file():
        raise OnnxFileError(f"{path} does not exist: name a model that onnx_export.export wrote")
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
    if problem := _problem(told):
        raise OnnxFileError(f"{path.name} {problem}: export it again")
    return session, told


def _problem(told: dict[str, Any]) -> str:
    """Say what is wrong with what a model tells of itself, "" if nothing is."""
    for name, kind in FIELDS.items():
        if not isinstance(told.get(name), kind):
            return f"does not tell its {name}"
    classes, thresholds, shape = told["classes"], told["thresholds"], told["image_shape"]
    if len(set(map(str, classes))) < len(classes):
        return "has two classes of one name"
    if any(not isinstance(row, list) or len(row) != len(classes) for row in thresholds):
        return f"has {len(classes)} class names and thresholds of another number of classes"
    if not all(value is None or _is_number(value) for row in thresholds for value in row):
        return "has thresholds that are no numbers"
    if len(shape) != 3 or not all(isinstance(side, int) and side > 0 for side in shape):
        return "has an image shape that is not three numbers above 0"
    if {len(told["mean"]), len(told["std"])} != {shape[0]} or not all(map(_is_number, told["mean"])):
        return f"does not normalise each of its {shape[0]} channels by a mean and a standard deviation"
    if not all(_is_number(value) and 0 < value < np.inf for value in told["std"]):
        return "divides pixels by a standard deviation that is no number above 0"
    return ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not np.isnan(value)


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
