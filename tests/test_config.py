import pytest
import yaml

from btsee_lib.config import check_params, params
from btsee_lib.errors import ParameterError

VALID = {
    "data": {
        "name": "fashion-mnist",
        "path": None,
        "image_size": None,
        "mirrors": ["https://example.org/archive.tar.gz"],
        "drop_test_duplicates": False,
        "seed": 0,
        "limit": None,
    },
    "backbone": {
        "name": "resnet18",
        "width": 16,
        "stem": "small",
        "epochs": 8,
        "reduced_epochs": 2,
        "reduced_size": 20,
        "batch_size": 256,
        "learning_rate": 0.3,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "label_smoothing": 0.05,
        "crop_padding": 4,
        "seed": 0,
    },
    "compute": {"precision": "bf16-mixed", "processes": 2},
    "features": {"batch_size": 500, "dtype": "float16"},
    "branches": {
        "channels": [16, 16, 16],
        "kernel_size": 5,
        "labels": "truth",
        "epochs": 3,
        "batch_size": 256,
        "learning_rate": 0.01,
        "weight_decay": 0.01,
    },
    "boosting": {
        "seeds": [0, 1],
        "margins": [[0.0, 0.02], [0.0], [0.01]],
        "bar_ceiling": 1.0,
        "class_margins": None,
        "min_support": 20,
        "min_survivors": 200,
    },
    "evaluation": {"seed": 0, "resamples": 1000, "confidence": 0.95, "max_drops": [0.5, 1.0, 2.0]},
    "deployment": {
        "max_drops": [0.5, 1.0],
        "published_drop": 1.0,
        "threads": 1,
        "static_width": 8,
        "full_width": 64,
        "latency_images": 100,
        "batch_sizes": [1, 16],
        "rounds": 3,
    },
}


@pytest.fixture
def write(tmp_path):
    """Write the valid parameters, with one section changed, and return the file."""

    def write_changed(section="data", **changes):
        content = {name: dict(values) for name, values in VALID.items()}
        content[section] = content[section] | changes
        path = tmp_path / "params.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write_changed


def message_of(section, path):
    with pytest.raises(ParameterError) as caught:
        params(section, path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_every_section_of_a_valid_file_is_read(write):
    path = write()
    check_params(path)
    for section, values in VALID.items():
        assert params(section, path).model_dump() == values


def test_the_file_at_the_root_is_read_from_a_sub_folder(write, workspace, monkeypatch):
    write("branches", epochs=17)
    (workspace / "notebooks").mkdir()
    monkeypatch.chdir(workspace / "notebooks")
    assert params("branches").epochs == 17


@pytest.mark.parametrize("value", ["9" * 5000, "2020-13-45"])
def test_a_number_or_date_that_cannot_be_one_ends_in_a_sentence(tmp_path, value):
    path = tmp_path / "params.yaml"
    path.write_text(f"data: {{seed: {value}}}\n")
    assert "params.yaml holds a number or a date that cannot be one" in message_of("data", path)


def test_parameters_that_are_a_folder_are_told_from_missing_ones(tmp_path):
    assert f"{tmp_path} is a folder: restore it with" in message_of("data", tmp_path)
    assert "does not exist: restore it with" in message_of("data", tmp_path / "params.yaml")


def test_parameters_cannot_be_changed_after_reading(write):
    section = params("branches", write())
    with pytest.raises(ValueError, match="frozen"):
        section.epochs = 1


@pytest.mark.parametrize("written", ["1e-3", "0.001", 0.001])
def test_a_float_may_be_written_in_any_notation(write, written):
    assert params("backbone", write("backbone", learning_rate=written)).learning_rate == 0.001


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("data", "name", 5),
        ("data", "limit", 99),
        ("data", "path", 7),
        ("data", "image_size", 0),
        ("data", "mirrors", ["example.org/archive.tar.gz"]),
        ("data", "mirrors", ["https://a.org/b", "https://a.org/b"]),
        ("data", "drop_test_duplicates", 1),
        ("backbone", "name", ""),
        ("backbone", "width", "wide"),
        ("backbone", "width", 7),
        ("backbone", "width", 16.5),
        ("backbone", "stem", "large"),
        ("backbone", "epochs", 0),
        ("backbone", "epochs", True),
        ("backbone", "learning_rate", "fast"),
        ("backbone", "learning_rate", 0.0),
        ("backbone", "learning_rate", True),
        ("backbone", "learning_rate", float("nan")),
        ("backbone", "momentum", 1.0),
        ("backbone", "seed", -1),
        ("backbone", "crop_padding", -1),
        ("compute", "precision", "fp16"),
        ("compute", "processes", 0),
        ("features", "dtype", "int8"),
        ("branches", "labels", "wrong"),
        ("branches", "epochs", None),
        ("deployment", "published_drop", 2.0),
        ("deployment", "batch_sizes", [1, 1]),
        ("deployment", "static_width", 7),
        ("boosting", "seeds", []),
        ("boosting", "seeds", [0, 1, 0]),
        ("boosting", "margins", []),
        ("boosting", "margins", [[0.0], [], [0.0]]),
        ("boosting", "margins", [[0.0], [0.1, 0.1], [0.0]]),
        ("boosting", "margins", [[0.0], [1.5], [0.0]]),
        ("boosting", "bar_ceiling", 0.0),
        ("boosting", "class_margins", [0.0]),
        ("boosting", "class_margins", [0.0, 1.5]),
        ("boosting", "min_support", 0),
        ("evaluation", "confidence", 95),
        ("evaluation", "max_drops", [1.0, 1.0]),
    ],
)
def test_a_wrong_value_is_refused_by_key_and_value(write, section, key, value):
    message = message_of(section, write(section, **{key: value}))
    assert message.startswith(f"params.yaml: {section}.{key}")
    wrong = value
    while isinstance(wrong, list) and wrong and repr(wrong) not in message:
        wrong = next(each for each in wrong if each not in ([0.0], 0.0))
    assert repr(wrong) in message


@pytest.mark.parametrize("branches", [1, 2, 5])
def test_there_is_a_list_of_margins_for_each_of_any_number_of_branches(write, branches):
    margins = [[0.0, 0.01 * (number + 1)] for number in range(branches)]
    assert params("boosting", write("boosting", margins=margins)).margins == margins


def test_a_section_that_is_no_mapping_is_refused_by_name(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(VALID | {"features": 500}))
    assert "features is 500" in message_of("features", path)


def test_an_unknown_key_is_named_and_the_known_ones_listed(write):
    message = message_of("branches", write("branches", epoch=3))
    assert "branches.epoch is not a parameter" in message
    assert all(key in message for key in VALID["branches"])


@pytest.mark.parametrize(("section", "key"), [(s, next(iter(values))) for s, values in VALID.items()])
def test_a_missing_key_is_named(tmp_path, section, key):
    path = tmp_path / "params.yaml"
    shortened = {name: value for name, value in VALID[section].items() if name != key}
    path.write_text(yaml.safe_dump(VALID | {section: shortened}))
    assert f"{section}.{key} is missing" in message_of(section, path)


def test_an_unknown_section_in_the_file_is_named(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(VALID | {"bakcbone": {}}))
    assert "unknown section 'bakcbone'" in message_of("data", path)


def test_asking_for_an_unknown_section_is_refused_by_name(write):
    assert "no section 'plots'" in message_of("plots", write())


def test_a_section_missing_from_the_file_is_named(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump({name: values for name, values in VALID.items() if name != "features"}))
    assert "'features'" in message_of("features", path)
    with pytest.raises(ParameterError, match="features"):
        check_params(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"static_width": 16}, "deployment.static_width is 16: take less than backbone.width, 16"),
        ({"full_width": 16}, "deployment.full_width is 16, as backbone.width: take another"),
    ],
)
def test_networks_to_compare_with_are_of_other_widths(write, changes, message):
    with pytest.raises(ParameterError, match=message):
        check_params(write("deployment", **changes))


def test_invalid_yaml_is_refused_by_line(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("data:\n  name: fashion-mnist\n  seed: [0\nbackbone:\n")
    message = message_of("data", path)
    assert "params.yaml, line 4" in message
    assert "not valid YAML" in message


def test_a_file_that_is_no_text_is_refused_by_name(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_bytes(b"data: \xff\xfe")
    assert "params.yaml" in message_of("data", path)


@pytest.mark.parametrize("content", ["", "- data\n- backbone\n", "fashion-mnist"])
def test_a_file_without_sections_is_refused_by_name(tmp_path, content):
    path = tmp_path / "params.yaml"
    path.write_text(content)
    assert "params.yaml holds no sections" in message_of("data", path)


def test_a_missing_file_is_named_with_the_remedy(tmp_path):
    message = message_of("data", tmp_path / "params.yaml")
    assert f"{tmp_path / 'params.yaml'} does not exist" in message
    assert "git checkout params.yaml" in message


def test_check_params_finds_the_wrong_value_in_any_section(write):
    for section in VALID:
        key = next(iter(VALID[section]))
        with pytest.raises(ParameterError, match=rf"{section}\.{key}"):
            check_params(write(section, **{key: {}}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "data:\n  seed: 0\n  seed: 1\n",
            "params.yaml, line 3: the key seed stands there twice: leave one",
        ),
        ("data:\n  seed: 0\ndata:\n  seed: 1\n", "params.yaml, line 3: the key data stands there twice"),
        ("data: " + "[" * 3000, "params.yaml is nested too deeply"),
        ("1: 2\nx: 3\ntrue: 4\n", "unknown section '1'"),
        ("data:\n  1: 2\n  true: 3\n", "params.yaml: data.name is missing: add it"),
        ("[1, 2]: 3\n", "params.yaml, line 1: found unhashable key"),
        ("data: &all\n  name: *all\n", "params.yaml: data.name is"),
    ],
)
def test_what_yaml_lets_pass_is_refused(tmp_path, text, message):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    assert message in message_of("data", path)
