"""A cascade as ONNX models: one a segment, or a single one that stops by itself.

A *segment* is what runs between two decisions: the stages up to the next open branch, with that
branch and its thresholds, or the stages up to the end. The models take raw uint8 images and hold the
normalisation, the thresholds and, as metadata, everything that a user of the file has to know.
"""

import copy
import hashlib
import json
import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from onnx import ModelProto, NodeProto, TensorProto, compose, helper, numpy_helper
from torch import Tensor, nn

from btsee_lib.cascade import Cascade
from btsee_lib.deployment.cascade_file import FORMAT, Description

SINGLE = "cascade.onnx"
OUTPUTS = ("label", "exit", "confidence")
Exported = dict[str, ModelProto]  # segments, by a digest of all that is in them


class Segment(nn.Module):
    """Some stages of a cascade, and the exit after them.

    Called with images uint8 (N, C, H, W) or with the feature map of the segment before. Answers with
    label int64 (N,) and confidence float32 (N,), and before the last exit with the feature map.
    """

    def __init__(self, cascade: Cascade, description: Description, first: int, last: int):
        super().__init__()
        self.number, self.rule = last, cascade.rule  # the exit's, 0 .. B
        self.name = "stage_" + "_".join(str(stage + 1) for stage in range(first, last + 1))
        self.description = description if first == 0 else None
        self.stages = nn.Sequential(*cascade.backbone.stages[first : last + 1])
        self.is_last = last == len(cascade.branches)
        if not self.is_last:
            self.branch, self.thresholds = cascade.branches[last], cascade.thresholds[last]

    def forward(self, entering: Tensor) -> tuple[Tensor, ...]:
        """Run the stages and the exit's classifier."""
        if self.description is not None:
            entering = self.description.normalise(entering)
        feature_map = self.stages(entering)
        logits = feature_map if self.is_last else self.branch(self.branch.squeeze(feature_map))
        confidence, label = self.rule.outputs(logits)
        return (label, confidence) if self.is_last else (label, confidence, feature_map)


def segments(cascade: Cascade, description: Description) -> list[Segment]:
    """Cut a cascade behind each of its open branches."""
    ends = [b for b, closed in enumerate(cascade.closed) if not closed] + [len(cascade.branches)]
    starts = [0, *(end + 1 for end in ends)]
    return [
        Segment(cascade, description, first, last).eval() for first, last in zip(starts, ends, strict=False)
    ]


def export(cascade: Cascade, description: Description, folder: Path, exported: Exported | None = None) -> None:
    """Write a cascade in both forms into ``folder``.

    ``stage_1.onnx``, ``stage_2.onnx`` and so on, a model for each segment, take batches of any size.
    ``cascade.onnx`` takes one image and stops by itself: each open branch is followed by an ``If``, one
    side of which hands the answer out, while the other holds the next segment.

    Parameters
    ----------
    exported : given the same dict again, a segment whose weights were exported before is not exported
        again; that takes seconds. Thresholds are added afterwards and may be others.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("stage_*.onnx"):  # of other branches being open
        stale.unlink()
    pieces = _export(cascade, description, {} if exported is None else exported)
    for segment, model in pieces:
        _write(model, cascade, description, segment.number, folder / f"{segment.name}.onnx")
    _write(_single(pieces, description), cascade, description, len(cascade.branches), folder / SINGLE)


def _single(pieces: Sequence[tuple[Segment, ModelProto]], description: Description) -> ModelProto:
    parts = [(segment, compose.add_prefix(model, f"{segment.name}/")) for segment, model in pieces]
    graph, first = _nested(parts), parts[0][1]
    _rename(graph, first.graph.input[0].name, "image")
    for output, name in zip(list(graph.output), OUTPUTS, strict=True):
        _rename(graph, output.name, name)
    graph.input.append(helper.make_tensor_value_info("image", TensorProto.UINT8, (1, *description.image_shape)))
    return helper.make_model(graph, opset_imports=first.opset_import, ir_version=first.ir_version)


def _export(cascade: Cascade, description: Description, exported: Exported) -> list[tuple[Segment, ModelProto]]:
    entering = torch.zeros(2, *description.image_shape, dtype=torch.uint8)
    pieces = []
    with torch.inference_mode():
        for segment in segments(cascade, description):
            outputs = ["label", "confidence"] + ([] if segment.is_last else ["feature_map"])
            name, digest = "entering" if pieces else "images", _digest(segment, entering)
            if digest not in exported:
                exported[digest] = _export_segment(segment, entering, name, outputs)
            model = copy.deepcopy(exported[digest])
            if not segment.is_last:
                _add_decision(model, segment.thresholds)
            pieces.append((segment, model))
            entering = segment(entering)[-1]
    return pieces


def _digest(segment: Segment, entering: Tensor) -> str:
    about = segment.description
    normalisation = (about.mean, about.std) if about else ()
    rule = (type(segment.rule), vars(segment.rule))
    digest = hashlib.sha256(f"{segment} {segment.name} {rule} {normalisation} {entering.shape}".encode())
    for tensor in segment.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _export_segment(segment: Segment, entering: Tensor, name: str, outputs: Sequence[str]) -> ModelProto:
    with warnings.catch_warnings():  # the exporter warns of its own use of torch
        warnings.simplefilter("ignore", FutureWarning)
        program = torch.onnx.export(
            segment,
            (entering.clone(),),
            input_names=[name],
            output_names=list(outputs),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            verbose=False,
        )
    model = program.model_proto
    _forget_origins(model)
    return model


def _add_decision(model: ModelProto, thresholds: Tensor) -> None:
    """Let the model tell who leaves: confidence >= threshold of the label, see ``calibration.leaves``."""
    model.graph.initializer.append(numpy_helper.from_array(thresholds.numpy(), "thresholds"))
    model.graph.node.extend(
        [
            helper.make_node("Gather", ["thresholds", "label"], ["threshold"], name="threshold"),
            helper.make_node("GreaterOrEqual", ["confidence", "threshold"], ["leaves"], name="leaves"),
        ]
    )
    model.graph.output.append(helper.make_tensor_value_info("leaves", TensorProto.BOOL, ("batch",)))


def _forget_origins(model: ModelProto) -> None:
    """Remove where in whose source code each node came from: paths of one machine."""
    del model.metadata_props[:], model.functions[:], model.graph.metadata_props[:]
    del model.graph.value_info[:]
    for item in (*model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output):
        del item.metadata_props[:]
        item.doc_string = ""


def _nested(parts: Sequence[tuple[Segment, ModelProto]]) -> onnx.GraphProto:
    """Build the graph of the first segment, with all later ones inside its ``If``."""
    (segment, model), later = parts[0], parts[1:]
    prefix, nodes = f"{segment.name}/", list(model.graph.node)
    answer = _answer(segment, prefix)
    if segment.is_last:
        return _graph(segment.name, [*nodes, *answer], f"{prefix}answer/", model.graph.initializer)
    rest = _nested(later)
    _rename(rest, later[0][1].graph.input[0].name, f"{prefix}feature_map")
    branching = helper.make_node(
        "If",
        [f"{prefix}leaves"],
        [f"{prefix}result/{name}" for name in OUTPUTS],
        name=f"{prefix}if",
        then_branch=_graph(f"{segment.name}_answer", answer, f"{prefix}answer/"),
        else_branch=rest,
    )
    return _graph(segment.name, [*nodes, branching], f"{prefix}result/", model.graph.initializer)


def _answer(segment: Segment, prefix: str) -> list[NodeProto]:
    number = helper.make_tensor("value", TensorProto.INT64, (1,), [segment.number])
    return [
        helper.make_node("Identity", [f"{prefix}label"], [f"{prefix}answer/label"]),
        helper.make_node("Constant", [], [f"{prefix}answer/exit"], value=number),
        helper.make_node("Identity", [f"{prefix}confidence"], [f"{prefix}answer/confidence"]),
    ]


def _graph(
    name: str, nodes: Sequence[NodeProto], prefix: str, initializers: Sequence[TensorProto] = ()
) -> onnx.GraphProto:
    types = (TensorProto.INT64, TensorProto.INT64, TensorProto.FLOAT)
    outputs = [
        helper.make_tensor_value_info(prefix + output, kind, (1,))
        for output, kind in zip(OUTPUTS, types, strict=True)
    ]
    return helper.make_graph(nodes, name, [], outputs, initializer=initializers)


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Give a value of a graph another name, wherever it is made, used, or handed out."""
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rename(attribute.g, old, new)
    for output in graph.output:
        output.name = new if output.name == old else output.name


def _write(model: ModelProto, cascade: Cascade, description: Description, number: int, path: Path) -> None:
    """Add the metadata, check the model, and save it."""
    metadata = {name: json.dumps(value) for name, value in description.model_dump(mode="json").items()}
    metadata |= {"format": str(FORMAT), "exit": str(number), "thresholds": _as_text(cascade.thresholds)}
    metadata["segments"] = str(cascade.closed.count(False) + 1)
    helper.set_model_props(model, metadata)
    _save(model, path)


def _as_text(thresholds: Tensor) -> str:
    """Thresholds as JSON, which has no infinity: null lets no sample of a class leave, -3e38 all of them."""
    rows = thresholds.clamp(min=torch.finfo(thresholds.dtype).min).tolist()
    return json.dumps([[None if value == math.inf else value for value in row] for row in rows])


def _save(model: ModelProto, path: Path) -> None:
    onnx.checker.check_model(model, full_check=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(model.SerializeToString(deterministic=True))
    partial.replace(path)
