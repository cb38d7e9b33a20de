import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from btsee_lib.deployment.onnx_export import SINGLE
from btsee_lib.deployment.onnx_runner import FORMAT, OnnxCascade, OnnxFileError, OnnxStages, operators_run


@pytest.fixture(scope="module")
def stages(exported):
    return OnnxStages(exported)


@pytest.fixture(scope="module")
def images(splits):
    return splits.test.images[:200].numpy()


def test_the_size_of_a_batch_changes_no_decision(stages, images):
    whole = stages.predict(images)
    for size in (1, 7, 64):
        parts = [stages.predict(images[start : start + size]) for start in range(0, len(images), size)]
        joined = [np.concatenate(each) for each in zip(*parts, strict=True)]
        assert np.array_equal(joined[0], whole.label)
        assert np.array_equal(joined[1], whole.exit)


def test_results_stand_in_the_order_of_the_images(stages, images):
    order = np.random.default_rng(0).permutation(len(images))
    assert np.array_equal(stages.predict(images[order]).exit, stages.predict(images).exit[order])


def test_later_models_do_not_run_once_all_have_left(stages, images):
    first = images[stages.predict(images).exit == 0]
    first_session, *later = whole = stages.sessions

    class Untouchable:
        def run(self, *_):
            raise AssertionError("a later stage ran")

    try:
        stages.sessions = (first_session, *[Untouchable()] * len(later))
        assert set(stages.predict(first).exit) == {0}
    finally:
        stages.sessions = whole


@pytest.mark.parametrize("form", [OnnxCascade, OnnxStages])
def test_no_images_give_no_answers(exported, images, form):
    model = form(exported / SINGLE if form is OnnxCascade else exported)
    assert [len(values) for values in model.predict(images[:0])] == [0, 0, 0]


@pytest.mark.parametrize("form", [OnnxCascade, OnnxStages])
@pytest.mark.parametrize(
    "wrong",
    [np.zeros((2, 1, 28, 28), np.float32), np.zeros((2, 1, 32, 32), np.uint8), np.zeros((1, 28, 28), np.uint8)],
)
def test_other_images_are_refused(exported, form, wrong):
    model = form(exported / SINGLE if form is OnnxCascade else exported)
    with pytest.raises(ValueError, match=r"images are .*: expected uint8 \(N, 1, 28, 28\)"):
        model.predict(wrong)


def test_no_operator_behind_the_exit_is_run_and_each_before_is_counted_once(exported, images, stages):
    taken = stages.predict(images).exit
    segments = [f"stage_{number}" for number in (1, 2, 3, 4)]
    first = onnx.load(exported / SINGLE).graph.node
    for number in range(4):
        ran = operators_run(exported / SINGLE, images[taken == number][:1], segments)
        assert [ran[segment] > 0 for segment in segments] == [place <= number for place in range(4)]
        assert ran["stage_1"] == sum(node.name.startswith("stage_1/") for node in first)


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(OnnxFileError, match=r"away\.onnx does not exist"):
        OnnxCascade(tmp_path / "away.onnx")
    with pytest.raises(OnnxFileError, match=r"holds no stage_\*\.onnx"):
        OnnxStages(tmp_path)


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_a_damaged_model_is_refused(exported, tmp_path, content):
    whole = (exported / SINGLE).read_bytes()
    (tmp_path / SINGLE).write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(OnnxFileError, match=r"cascade\.onnx is damaged or is no ONNX model"):
        OnnxCascade(tmp_path / SINGLE)


def test_a_model_of_another_format_tells_both(exported, tmp_path):
    model = onnx.load(exported / SINGLE)
    told = {entry.key: entry.value for entry in model.metadata_props} | {"format": "7"}
    onnx.helper.set_model_props(model, told)
    onnx.save(model, tmp_path / SINGLE)
    with pytest.raises(OnnxFileError, match=f"is of format 7: this version reads {FORMAT}"):
        OnnxCascade(tmp_path / SINGLE)


def test_a_foreign_model_is_refused(tmp_path):
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (1,))
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (1,))
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "foreign", [value], [out])
    onnx.save(onnx.helper.make_model(graph, ir_version=10), tmp_path / SINGLE)
    with pytest.raises(OnnxFileError, match="is of format None"):
        OnnxCascade(tmp_path / SINGLE)


def test_a_foreign_model_with_metadata_is_refused(exported, tmp_path):
    model = onnx.load(exported / SINGLE)
    onnx.helper.set_model_props(model, {"author": "somebody else"})
    onnx.save(model, tmp_path / SINGLE)
    with pytest.raises(OnnxFileError, match="is of format None"):
        OnnxCascade(tmp_path / SINGLE)


@pytest.mark.parametrize("number", [1, 4])
def test_the_model_of_a_stage_is_no_cascade(exported, number):
    with pytest.raises(
        OnnxFileError, match=rf"stage_{number}\.onnx is the model of a stage: name cascade\.onnx"
    ):
        OnnxCascade(exported / f"stage_{number}.onnx")


def test_a_missing_stage_is_noticed(exported, tmp_path):
    for number in (1, 2, 4):
        shutil.copy(exported / f"stage_{number}.onnx", tmp_path)
    with pytest.raises(OnnxFileError, match="holds 3 models, of 3 of 4 exits: export all of them again"):
        OnnxStages(tmp_path)


def test_it_runs_where_there_is_no_torch(exported, tmp_path, images, stages, repository):
    np.save(tmp_path / "images.npy", images[:20])
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np\n"
        "from btsee_lib.deployment.onnx_runner import OnnxStages\n"
        f"exits = OnnxStages({str(exported)!r}).predict(np.load('images.npy')).exit\n"
        "print(exits.tolist())"
    )
    environment = {"PYTHONPATH": str(repository), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(stages.predict(images[:20]).exit.tolist())


def test_the_example_classifies_an_image_file(exported, tmp_path, images, cascade, description, repository):
    Image.fromarray(images[3, 0]).save(tmp_path / "picture.png")
    script = (
        f"import sys; sys.argv = ['classify.py', 'picture.png', {str(exported / SINGLE)!r}]; "
        "sys.modules['torch'] = None; import runpy; "
        f"runpy.run_path({str(repository / 'examples' / 'classify.py')!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    label, number, confidence = (
        values[0] for values in cascade.predict(description.normalise(torch.from_numpy(images[3:4])))
    )
    name = description.classes[label]
    assert done.stdout.strip() == f"{name}, left at exit {number + 1}, confidence {confidence:.2f}"


def test_the_example_without_an_image_says_how_to_call_it(repository):
    command = [sys.executable, str(repository / "examples" / "classify.py")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.strip() == "name an image file: python classify.py IMAGE [MODEL]"
