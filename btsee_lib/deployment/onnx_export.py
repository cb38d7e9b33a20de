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
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, compose, helper, numpy_helper
from torch import Tensor, nn

from btsee_lib.cascade import Cascade
from btsee_lib.data.preparation import PREPARATION
from btsee_lib.deployment.cascade_file import Description, check_fit
from btsee_lib.deployment.onnx_runner import FORMAT

SINGLE = "cascade.onnx"
OUTPUTS = ("label", "exit", "confidence")
Exported = dict[tuple, ModelProto]  # segments, by what is in them


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
        self.branch = None if self.is_last else cascade.branches[last]
        self.thresholds = None if self.is_last else cascade.thresholds[last]

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
    exported : given the same dict again, a segment of the same modules is not exported again; that takes
        seconds. Thresholds are added afterwards and may be others.

    Raises
    ------
    ValueError
        If the description is not of this cascade, see ``cascade_file.check_fit``.
    """
    check_fit(cascade, description)
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("stage_*.onnx"):  # of other branches being open
        stale.unlink()
    pieces = _export(cascade, description, {} if exported is None else exported)
    models = [(f"{segment.name}.onnx", segment.number, model) for segment, model in pieces]
    common = {key: json.dumps(value) for key, value in description.model_dump(mode="json").items()}
    common |= {"format": str(FORMAT), "thresholds": _as_text(cascade.thresholds), "segments": str(len(pieces))}
    common["preparation"] = json.dumps(PREPARATION)
    common["digest"] = json.dumps(_digest(common, [model for _, model in pieces]))
    for name, number, model in [*models, (SINGLE, len(cascade.branches), _single(pieces, description))]:
        helper.set_model_props(model, common | {"exit": str(number)})
        onnx.checker.check_model(model, full_check=True)
        partial = folder / f".{name}.partial"
        partial.write_bytes(model.SerializeToString(deterministic=True))
        partial.replace(folder / name)


def _digest(metadata: dict[str, str], models: Sequence[ModelProto]) -> str:
    """16 hexadecimal digits that the models of one export have in common, and those of others have not."""
    total = hashlib.blake2b(json.dumps(metadata, sort_keys=True).encode(), digest_size=8)
    for model in models:
        total.update(model.SerializeToString(deterministic=True))
    return total.hexdigest()


def _export(cascade: Cascade, description: Description, exported: Exported) -> list[tuple[Segment, ModelProto]]:
    entering = torch.zeros(2, *description.image_shape, dtype=torch.uint8)
    pieces = []
    with torch.inference_mode():
        for segment in segments(cascade, description):
            key = (segment.name, segment.rule, description.image_shape, description.mean, description.std)
            key += (*segment.stages, segment.branch)
            if key not in exported:
                exported[key] = _export_segment(segment, entering, "entering" if pieces else "images")
            model = copy.deepcopy(exported[key])
            if not segment.is_last:
                _add_decision(model, segment.thresholds)
            pieces.append((segment, model))
            entering = segment(entering)[-1]
    return pieces


def _export_segment(segment: Segment, entering: Tensor, name: str) -> ModelProto:
    outputs = ["label", "confidence"] + ([] if segment.is_last else ["feature_map"])
    with warnings.catch_warnings():  # the exporter warns of its own use of torch
        warnings.simplefilter("ignore", FutureWarning)
        program = torch.onnx.export(
            segment,
            (entering.clone(),),
            input_names=[name],
            output_names=outputs,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            verbose=False,
        )
    model = program.model_proto
    _forget_origins(model)
    return model


def _add_decision(model: ModelProto, thresholds: Tensor) -> None:
    """Let the model tell who leaves, see ``calibration.leaves``; nan leaves too, so that it is noticed."""
    model.graph.initializer.append(numpy_helper.from_array(thresholds.numpy(), "thresholds"))
    model.graph.node.extend(
        [
            helper.make_node("Gather", ["thresholds", "label"], ["threshold"], name="threshold"),
            helper.make_node("Less", ["confidence", "threshold"], ["stays"], name="stays"),
            helper.make_node("Not", ["stays"], ["leaves"], name="leaves"),
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


def _single(pieces: Sequence[tuple[Segment, ModelProto]], description: Description) -> ModelProto:
    """Put each segment inside the ``If`` of the one before it, from the last to the first."""
    graph, first = None, pieces[0][1]
    sources = ["image", *(f"{segment.name}/feature_map" for segment, _ in pieces)]
    for source, (segment, piece) in reversed(list(zip(sources, pieces, strict=False))):
        prefix = f"{segment.name}/"
        own = compose.add_prefix(piece, prefix).graph
        entering = own.input[0].name
        for node in own.node:
            node.input[:] = [source if name == entering else name for name in node.input]
        results = "" if source == "image" else f"{prefix}{'answer' if segment.is_last else 'result'}/"
        nodes = [*own.node, *_decision(segment, results, graph)]
        graph = _graph(segment.name, nodes, results, own.initializer)
    graph.input.append(helper.make_tensor_value_info("image", TensorProto.UINT8, (1, *description.image_shape)))
    return helper.make_model(graph, opset_imports=first.opset_import, ir_version=first.ir_version)


def _decision(segment: Segment, results: str, later: GraphProto | None) -> list[NodeProto]:
    """Hand the answer out, or what the later segments find; ``results`` begins the names of both."""
    prefix = f"{segment.name}/"
    if later is None:
        return _answer(segment, results)
    answer = f"{prefix}answer/"
    branching = helper.make_node(
        "If",
        [f"{prefix}leaves"],
        [f"{results}{name}" for name in OUTPUTS],
        name=f"{prefix}if",
        then_branch=_graph(f"{segment.name}_answer", _answer(segment, answer), answer),
        else_branch=later,
    )
    return [branching]


def _answer(segment: Segment, results: str) -> list[NodeProto]:
    number = helper.make_tensor("value", TensorProto.INT64, (1,), [segment.number])
    return [
        helper.make_node("Identity", [f"{segment.name}/label"], [f"{results}label"]),
        helper.make_node("Constant", [], [f"{results}exit"], value=number),
        helper.make_node("Identity", [f"{segment.name}/confidence"], [f"{results}confidence"]),
    ]


def _graph(
    name: str, nodes: Sequence[NodeProto], results: str, initializers: Sequence[TensorProto] = ()
) -> GraphProto:
    types = (TensorProto.INT64, TensorProto.INT64, TensorProto.FLOAT)
    outputs = [
        helper.make_tensor_value_info(results + output, kind, (1,))
        for output, kind in zip(OUTPUTS, types, strict=True)
    ]
    return helper.make_graph(nodes, name, [], outputs, initializer=initializers)


def _as_text(thresholds: Tensor) -> str:
    """Thresholds as JSON, which has no infinity: null lets no sample of a class leave, -3e38 all of them."""
    rows = thresholds.clamp(min=torch.finfo(thresholds.dtype).min).tolist()
    return json.dumps([[None if value == math.inf else value for value in row] for row in rows])
