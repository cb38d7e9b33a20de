"""Cascades in ONNX Runtime. Needs numpy and onnxruntime only, so it goes where torch does not."""

import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime

FORMAT = 3


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
        self.session = open_model(path, threads)
        if self.session.get_inputs()[0].name != "image":
            raise OnnxFileError(
                f"{Path(path).name} is the model of a stage: name cascade.onnx, or use OnnxStages"
            )
        self.metadata = metadata(self.session)

    def predict(self, images: np.ndarray) -> Answers:
        """Classify raw images uint8 (N, C, H, W), one after the other."""
        check_images(images, self.metadata)
        answers = [self.session.run(None, {"image": images[i : i + 1]}) for i in range(len(images))]
        if not answers:
            return _no_answers(0)
        return Answers(*(np.concatenate(each) for each in zip(*answers, strict=True)))


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
        self.sessions = [open_model(path, threads) for path in paths]
        self.inputs = [session.get_inputs()[0].name for session in self.sessions]
        self.exits = [metadata(session)["exit"] for session in self.sessions]
        self.metadata = metadata(self.sessions[0])
        if len(self.sessions) != self.metadata["segments"]:
            raise OnnxFileError(
                f"{folder} holds {len(paths)} models of {self.metadata['segments']}: export all of them again"
            )

    def predict(self, images: np.ndarray) -> Answers:
        """Classify raw images uint8 (N, C, H, W) in one batch; the order of results is theirs."""
        check_images(images, self.metadata)
        answers = _no_answers(len(images))
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
        return answers


def open_model(path: Path, threads: int = 1) -> onnxruntime.InferenceSession:
    """Open a model on the CPU.

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
        found = metadata(session).get("format")
    except ValueError:  # of another maker, whose metadata are no JSON
        found = None
    if found != FORMAT:
        raise OnnxFileError(f"{path.name} is of format {found}: this version reads {FORMAT}; export it again")
    return session


def profile(path: Path, images: np.ndarray) -> list[dict[str, Any]]:
    """Run a single model on one image and return the events that ONNX Runtime noted, in order.

    The graph is run as it was exported, not optimised, so that operators keep their names.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.enable_profiling, options.profile_file_prefix = True, str(Path(folder) / "profile")
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        session.run(None, {"image": images[:1]})
        return json.loads(Path(session.end_profiling()).read_text())


def metadata(session: onnxruntime.InferenceSession) -> dict[str, Any]:
    """Read what a model says of itself: classes, image shape, normalisation, margins, accuracy."""
    return {name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()}


def check_images(images: np.ndarray, description: dict[str, Any]) -> None:
    """Raise a ValueError unless images are uint8 (N, C, H, W) of the size that the model was made for."""
    expected = tuple(description["image_shape"])
    if images.dtype != np.uint8 or images.shape[1:] != expected:
        sizes = ", ".join(str(size) for size in expected)
        raise ValueError(f"images are {images.dtype} {images.shape}: expected uint8 (N, {sizes})")


def _no_answers(number: int) -> Answers:
    return Answers(np.zeros(number, np.int64), np.zeros(number, np.int64), np.zeros(number, np.float32))
