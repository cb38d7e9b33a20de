"""A model that is damaged or mixed, and pictures that are no pictures, end in a sentence."""

import importlib.util
import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from small_networks import four_layers

from btsee_lib.backbone import BACKBONES
from btsee_lib.cascade import Cascade
from btsee_lib.data.image_files import Picture, decode
from btsee_lib.data.preparation import MOST_BYTES, PREPARATION
from btsee_lib.deployment.cascade_file import (
    CascadeFileError,
    Description,
    check_fit,
    load_cascade,
    new_cascade,
    save_cascade,
)
from btsee_lib.deployment.onnx_export import SINGLE, export
from btsee_lib.deployment.onnx_runner import FIELDS, OnnxCascade, OnnxFileError, OnnxStages

ABOUT = {
    "data_set": "folder",
    "classes": ("cat", "dog", "None"),
    "image_shape": (3, 16, 16),
    "mean": (0.5,) * 3,
    "std": (0.25,) * 3,
    "backbone": "four layers",
    "width": 8,
    "stem": "small",
    "branch_channels": (4, 4, 4),
    "branch_kernel_size": 3,
    "rule": "CPM",
    "margins": (0.0, 0.0, 0.0),
    "measured": {},
}


@pytest.fixture(scope="module", autouse=True)
def quick_backbone():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "four layers", four_layers)
        yield


@pytest.fixture(scope="module")
def about():
    return Description(**ABOUT)


@pytest.fixture(scope="module")
def untrained(about):
    torch.manual_seed(0)
    return new_cascade(about, torch.tensor([[0.3] * 3, [torch.inf] * 3, [torch.inf] * 3]))


@pytest.fixture(scope="module")
def segments():
    return {}


@pytest.fixture(scope="module")
def models(untrained, about, segments, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    export(untrained, about, folder, segments)
    return folder


@pytest.fixture(scope="module")
def classify(repository):
    module = importlib.util.spec_from_file_location("classify", repository / "examples" / "classify.py")
    loaded = importlib.util.module_from_spec(module)
    module.loader.exec_module(loaded)
    return loaded.classify


def changed(models, folder, **changes):
    """Copy the single model with other metadata; what is None is left out."""
    model = onnx.load(models / SINGLE)
    told = {entry.key: entry.value for entry in model.metadata_props}
    told |= {name: json.dumps(value) for name, value in changes.items()}
    onnx.helper.set_model_props(model, {name: text for name, text in told.items() if text != "null"})
    onnx.save(model, folder / SINGLE)
    return folder / SINGLE


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        *(({name: None}, f"does not tell its {name}") for name in FIELDS),
        ({"image_shape": 3}, "does not tell its image_shape"),
        ({"classes": ["cat", "dog", "cat"]}, "has two classes of one name"),
        ({"classes": ["cat", "dog"]}, "has 2 class names and thresholds of another number"),
        ({"thresholds": [[np.nan] * 3]}, "has thresholds that are no numbers"),
        ({"thresholds": [["high"] * 3]}, "has thresholds that are no numbers"),
        ({"image_shape": [3, 16]}, "has an image shape that is not three numbers above 0"),
        ({"image_shape": [3, 16, "16"]}, "has an image shape that is not three numbers above 0"),
        ({"mean": [0.5]}, "does not normalise each of its 3 channels by a mean and a standard deviation"),
        ({"mean": [0.5, 0.5, "0.5"]}, "does not normalise each of its 3 channels by a mean"),
        ({"std": [0.25] * 4}, "does not normalise each of its 3 channels by a mean"),
        ({"std": [0.25, 0.25, "0.25"]}, "a standard deviation that is no number above 0"),
        ({"std": [0.25, 0.0, 0.25]}, "a standard deviation that is no number above 0"),
        ({"std": [0.25, np.nan, 0.25]}, "a standard deviation that is no number above 0"),
        ({"std": [0.25, 1e-300, 0.25]}, "a standard deviation that is no number above 0"),
        ({"mean": [0.5, 0.5, np.inf]}, "does not normalise each of its 3 channels by a mean"),
        ({"mean": [0.5, 0.5, True]}, "does not normalise each of its 3 channels by a mean"),
        ({"image_shape": [3, 16, True]}, "has an image shape that is not three numbers above 0"),
        ({"image_shape": [3, 32, 32]}, r"takes images of another shape than \[3, 32, 32\]"),
        ({"thresholds": []}, "has the exit 3 of 2 segments, and thresholds of 0 branches"),
        ({"segments": 0}, "has the exit 3 of 0 segments, and thresholds of 3 branches"),
        ({"segments": True}, "does not tell its segments"),
        ({"exit": -1}, "has the exit -1 of 2 segments"),
        ({"classes": ["cat", "dog", None]}, "has classes without a name"),
    ],
)
def test_a_model_that_tells_nonsense_of_itself_is_refused(models, tmp_path, changes, sentence):
    with pytest.raises(OnnxFileError, match=rf"^cascade\.onnx .*{sentence}.*: export it again$"):
        OnnxCascade(changed(models, tmp_path, **changes))


@pytest.mark.parametrize("images", [None, [[0]], "picture.png", torch.zeros(1, 3, 16, 16, dtype=torch.uint8)])
def test_what_is_no_array_is_refused_by_its_type(models, untrained, images):
    for model in (OnnxCascade(models / SINGLE), OnnxStages(models)):
        with pytest.raises(
            ValueError, match=rf"of the type {type(images).__name__}: expected uint8 \(N, 3, 16"
        ):
            model.predict(images)
    if not isinstance(images, torch.Tensor):
        with pytest.raises(ValueError, match=f"of the type {type(images).__name__}: give a tensor"):
            untrained.predict(images)


def test_a_stage_of_another_export_is_noticed_and_one_without_a_digest_too(
    models, untrained, about, segments, tmp_path
):
    other = Cascade(untrained.backbone, untrained.branches, untrained.thresholds + 0.1, untrained.image_shape)
    export(other, about, tmp_path / "other", segments)
    last = max(path.name for path in models.glob("stage_*"))
    shutil.copytree(models, tmp_path / "mixed")
    shutil.copy(tmp_path / "other" / last, tmp_path / "mixed")
    with pytest.raises(OnnxFileError, match="mixed holds models of several exports: export all of them again"):
        OnnxStages(tmp_path / "mixed")
    for path in sorted((tmp_path / "mixed").glob("stage_*")):
        model = onnx.load(models / path.name)
        (digest,) = (entry for entry in model.metadata_props if entry.key == "digest")
        model.metadata_props.remove(digest)
        onnx.save(model, path)
    with pytest.raises(OnnxFileError, match="does not tell its digest: export it again"):
        OnnxStages(tmp_path / "mixed")


def test_a_stage_in_the_place_of_another_is_noticed_and_names_decide_no_order(models, tmp_path):
    first, last = sorted(path.name for path in models.glob("stage_*"))
    shutil.copytree(models, tmp_path / "twice")
    shutil.copy(models / first, tmp_path / "twice" / last)
    with pytest.raises(OnnxFileError, match="twice holds 2 models, of 1 of 2 exits: export all"):
        OnnxStages(tmp_path / "twice")
    (tmp_path / "renamed").mkdir()
    shutil.copy(models / first, tmp_path / "renamed" / last)
    shutil.copy(models / last, tmp_path / "renamed" / first)
    assert OnnxStages(tmp_path / "renamed").exits == OnnxStages(models).exits == [0, 3]


def with_nan(model, target, prefix=""):
    """Write a model again, with its largest weight, of those whose names begin so, overwritten by nan."""
    model = onnx.load(model)
    weights = max(
        (each for each in model.graph.initializer if each.name.startswith(prefix)),
        key=lambda each: len(each.raw_data) * each.name.endswith("weight"),
    )
    weights.raw_data = np.full(len(weights.raw_data) // 4, np.nan, np.float32).tobytes()
    onnx.save(model, target)


@pytest.mark.parametrize("prefix", ["stage_1/stages", "stage_1/branch"])
def test_a_model_of_damaged_weights_does_not_answer(models, tmp_path, prefix):
    with_nan(models / SINGLE, tmp_path / SINGLE, prefix)
    with pytest.raises(OnnxFileError, match="answers are no numbers"):
        OnnxCascade(tmp_path / SINGLE).predict(np.zeros((1, 3, 16, 16), np.uint8))


def test_a_damaged_branch_is_noticed_although_the_next_stage_would_answer(models, tmp_path):
    shutil.copytree(models, tmp_path / "models")
    with_nan(models / "stage_1.onnx", tmp_path / "models" / "stage_1.onnx", "branch")
    with pytest.raises(OnnxFileError, match="answers are no numbers"):
        OnnxStages(tmp_path / "models").predict(np.zeros((2, 3, 16, 16), np.uint8))


def test_fewer_names_than_classes_end_in_a_sentence_when_a_class_without_one_is_named(models, tmp_path):
    single = OnnxCascade(changed(models, tmp_path, classes=["cat"], thresholds=[[None]] * 3))
    images = np.random.default_rng(0).integers(0, 256, (50, 3, 16, 16), dtype=np.uint8)
    assert OnnxCascade(models / SINGLE).predict(images).label.max() > 0
    with pytest.raises(OnnxFileError, match="has more classes than its 1 names: export it again"):
        single.predict(images)


@pytest.mark.parametrize("threads", [0, -1, "a", None])
@pytest.mark.parametrize("form", [OnnxCascade, OnnxStages])
def test_a_number_of_threads_that_is_none_is_refused(models, form, threads):
    with pytest.raises(OnnxFileError, match=f"threads is {threads!r}: give a whole number above 0"):
        form(models / SINGLE if form is OnnxCascade else models, threads)


def test_what_is_no_file_is_told_from_what_is_missing(models):
    with pytest.raises(OnnxFileError, match=f"^{models} is no file: name a model"):
        OnnxCascade(models)
    with pytest.raises(OnnxFileError, match=r"^None does not exist: name a model"):
        OnnxCascade(None)
    with pytest.raises(OnnxFileError, match=r"^None holds no stage_\*"):
        OnnxStages(None)
    with pytest.raises(CascadeFileError, match=f"^{models} is no file: name a file"):
        load_cascade(models)


@pytest.mark.parametrize("part", ["backbone", "branches.2"])
def test_weights_that_are_no_numbers_are_neither_written_nor_read(about, untrained, tmp_path, part):
    damaged = new_cascade(about, untrained.thresholds)
    save_cascade(tmp_path / "cascade.pt", damaged, about)
    content = torch.load(tmp_path / "cascade.pt", weights_only=True)
    name = next(name for name in content["state"] if name.startswith(part))
    content["state"][name][0] = torch.inf
    torch.save(content, tmp_path / "cascade.pt")
    with pytest.raises(CascadeFileError, match=f"{name} holds values that are no numbers"):
        load_cascade(tmp_path / "cascade.pt")
    damaged.load_state_dict(content["state"])
    with pytest.raises(ValueError, match=f"{name} holds values that are no numbers: train the cascade again"):
        export(damaged, about, tmp_path)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (torch.nan, "not finite"),
        (torch.inf, "not finite"),
        (-torch.inf, "not finite"),
        (255.0, "not raw ones"),
        (-128.0, "from -128 to 0: expected normalised, not raw"),
    ],
)
def test_pixels_that_are_not_normalised_numbers_are_refused(untrained, value, sentence):
    images = torch.zeros(2, 3, 16, 16)
    images[1, 0, 3, 3] = value
    with pytest.raises(ValueError, match=sentence):
        untrained.predict(images)


def test_thresholds_or_weights_that_are_no_numbers_are_refused(about):
    cascade, images = new_cascade(about), torch.zeros(2, 3, 16, 16)
    cascade.thresholds[0, 1] = torch.nan
    with pytest.raises(ValueError, match="thresholds hold nan"):
        cascade.predict(images)
    cascade.thresholds[0, 1] = torch.inf
    next(cascade.backbone.parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match="answers are no numbers"):
        cascade.predict(images)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"classes": ("cat", "dog", "cat")}, "two classes have one name"),
        ({"std": (0.25, 0.0, 0.25)}, "give finite numbers, std above 0"),
        ({"std": (0.25, 1e-300, 0.25)}, "give finite numbers, std above 0"),
        ({"mean": (0.5, float("nan"), 0.5)}, "give finite numbers"),
    ],
)
def test_a_description_that_cannot_be_true_is_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        Description(**ABOUT | changes)


def test_class_names_of_another_number_are_not_written(untrained, about, tmp_path):
    other = about.model_copy(update={"classes": ("cat", "dog")})
    with pytest.raises(ValueError, match="2 class names for 3 classes: give one a class"):
        check_fit(untrained, other)
    with pytest.raises(ValueError, match="2 class names for 3 classes"):
        export(untrained, other, tmp_path)


def kinds():
    """A picture of every kind that is read, as bytes by a name."""
    drawn = np.random.default_rng(0).integers(0, 256, (20, 30, 4), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 8
    kinds = {
        "enlarged.png": Image.fromarray(drawn[:7, :9, :3]),
        "grey.png": Image.fromarray(drawn[..., 0]),
        "deep.png": Image.fromarray(drawn[..., 0].astype(np.uint16) * 200),
        "deep.tiff": Image.fromarray(drawn[..., 0].astype(np.uint16) * 200),
        "clear.png": Image.fromarray(drawn),
        "clear.webp": Image.fromarray(drawn),
        "palette.gif": Image.fromarray(drawn[..., :3]).quantize(20),
        "turned.jpg": Image.fromarray(drawn[..., :3]),
        "turned.png": Image.fromarray(drawn[..., :3]),
        "print.jpeg": Image.fromarray(drawn[..., :3]).convert("CMYK"),
    }
    found = {"deep.pgm": b"P5 30 20 1023\n" + (drawn[..., 0].astype(">u2") * 4).tobytes()}
    for name, image in kinds.items():
        content = io.BytesIO()
        image.save(
            content,
            Image.registered_extensions()[Path(name).suffix],
            **{"exif": exif} if "turned" in name else {},
        )
        found[name] = content.getvalue()
    return found


@pytest.mark.parametrize(("name", "content"), kinds().items(), ids=kinds())
def test_the_example_answers_as_the_library_does(models, classify, untrained, about, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    pixels, _ = decode(tmp_path, 16, Picture("", "cat", name, content))
    expected = untrained.predict(about.normalise(torch.from_numpy(pixels[None])))
    label, number, confidence = (values[0] for values in expected)
    told = f"{about.classes[label]}, left at exit {number + 1}, confidence {confidence:.2f}"
    assert classify(tmp_path / name, models / SINGLE) == told


def test_the_preparation_goes_with_the_model_and_another_one_is_refused(models, classify, tmp_path):
    assert OnnxCascade(models / SINGLE).metadata["preparation"] == PREPARATION
    (tmp_path / "a.pgm").write_bytes(b"P5 1 1 255\n7")
    other = changed(models, tmp_path, preparation=PREPARATION | {"size": "nearest"})
    with pytest.raises(SystemExit, match="prepared otherwise"):
        classify(tmp_path / "a.pgm", other)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"some text", "is damaged or no picture that is read here: name one of PNG, JPEG"),
        (b"", "is damaged or no picture"),
        (b"\x00\x00\x00\x18ftypheic" + bytes(40), "is damaged or no picture"),
        (kinds()["turned.jpg"][:200], "is damaged or no picture"),
        (b"Pf 1 1 -1\n" + np.float32(np.nan).tobytes(), "has pixels of 32 bits"),
        (None, "is no file: name a picture"),
        ("fifo", "is no file: name a picture"),
    ],
)
def test_the_example_says_in_a_sentence_what_is_wrong_with_a_picture(
    models, classify, tmp_path, content, sentence
):
    path = tmp_path / "picture.png"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        os.mkfifo(path)
    with pytest.raises(SystemExit, match=sentence) as caught:
        classify(path, models / SINGLE)
    assert "\n" not in str(caught.value)


def test_the_example_reads_no_file_that_is_too_large_for_a_picture(models, classify, tmp_path):
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(SystemExit, match=r"large\.png is over 64 MB: name a smaller picture"):
        classify(path, models / SINGLE)


@pytest.mark.parametrize("name", ["missing.onnx", "stage", "truncated.onnx"])
def test_the_example_says_in_a_sentence_what_is_wrong_with_a_model(models, classify, tmp_path, name):
    (tmp_path / "a.pgm").write_bytes(b"P5 1 1 255\n7")
    (tmp_path / "truncated.onnx").write_bytes((models / SINGLE).read_bytes()[:500])
    model = next(models.glob("stage_1*")) if name == "stage" else tmp_path / name
    with pytest.raises(SystemExit, match=f"{name}.* (does not exist|is the model of a stage|is damaged)"):
        classify(tmp_path / "a.pgm", model)
