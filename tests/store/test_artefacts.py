import json
import os
import platform
from pathlib import Path
from types import ModuleType

import pytest
import torch

from btsee_lib import errors
from btsee_lib.config import SECTIONS, BranchParameters, FeatureParameters
from btsee_lib.errors import ArtefactError
from btsee_lib.store import artefacts
from btsee_lib.store.artefacts import ensure, fingerprint, require

CODE = "def double(x):\n    return 2 * x\n"


@pytest.fixture
def module(package):
    """A module of the given source text, which takes the place of the one before."""

    def written(source):
        return ModuleType(f"{package({'worker': source})}.worker")

    return written


@pytest.fixture
def made():
    """Collect the calls of ``make``."""
    return []


@pytest.fixture
def make(made):
    def write(folder):
        made.append(folder)
        (folder / "result.txt").write_text(f"made {len(made)} times")

    return write


def expected(batch_size=500, maker=errors, inputs=(), **others):
    """What is made by a module, by default one that imports nothing."""
    return fingerprint([FeatureParameters(batch_size=batch_size, dtype="float32")], maker, inputs, **others)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_an_artefact_lies_at_the_root_of_the_repository(workspace, monkeypatch):
    (workspace / "notebooks").mkdir()
    monkeypatch.chdir(workspace / "notebooks")
    assert artefacts.folder_of("backbone") == workspace.resolve() / "artifacts" / "backbone"


def test_what_is_missing_is_made_once(workspace, make, made):
    first = ensure("features", expected(), make)
    second = ensure("features", expected(), make)
    assert first == second == artefacts.folder_of("features")
    assert (first / "result.txt").read_text() == "made 1 times"
    assert len(made) == 1


def test_it_is_made_under_another_name(workspace, make, made):
    folder = ensure("cascades/seed_0", expected(), make)
    assert made[0] != folder
    assert names_in(folder.parent) == ["seed_0"]


def test_with_other_parameters_it_is_made_again_and_the_old_is_gone(workspace, make):
    (ensure("features", expected(500), make) / "old.txt").touch()
    folder = ensure("features", expected(250), make)
    assert names_in(folder) == [artefacts.FINGERPRINT, "result.txt"]
    assert (folder / "result.txt").read_text() == "made 2 times"


def test_with_changed_code_it_is_made_again(workspace, make, made, module):
    ensure("features", expected(maker=module(CODE)), make)
    ensure("features", expected(maker=module(f"# double\n{CODE}")), make)
    assert len(made) == 1
    ensure("features", expected(maker=module(CODE.replace("2 * x", "3 * x"))), make)
    assert len(made) == 2


def test_with_changed_code_of_what_its_maker_imports_it_is_made_again(workspace, make, made, package):
    for source in ("value = 1\n", "value = 2\n"):
        name = package({"worker": "from PACKAGE import helper\n", "helper": source})
        ensure("features", expected(maker=ModuleType(f"{name}.worker")), make)
    assert len(made) == 2


def test_with_something_else_that_decides_it_it_is_made_again(workspace, make, made):
    for scheme in ("boosted", "boosted", "independent"):
        ensure("branches", expected(scheme=scheme), make)
    assert len(made) == 2


def test_when_an_input_is_made_anew_so_is_what_comes_from_it(workspace, make, made):
    for width in (500, 500, 250):
        ensure("backbone", expected(width), make)
        ensure("features", expected(inputs=["backbone"]), make)
    assert len(made) == 4


def test_an_input_must_exist(workspace):
    with pytest.raises(ArtefactError, match="artifacts/backbone does not exist"):
        expected(inputs=["backbone"])


def test_a_fingerprint_names_parameters_code_and_inputs(workspace, make, module):
    ensure("backbone", expected(), make)
    maker = module(CODE)
    content = expected(maker=maker, inputs=["backbone"], scheme="boosted")
    assert content["parameters"] == {"features": {"batch_size": 500, "dtype": "float32"}}
    assert list(content["code"]) == [maker.__name__]
    assert content["scheme"] == "boosted"
    assert list(content["inputs"]) == ["backbone"]
    assert json.loads(json.dumps(content)) == content


@pytest.mark.parametrize(("name", "section"), SECTIONS.items())
def test_a_section_is_named_in_a_fingerprint_as_in_the_file_of_parameters(name, section):
    assert list(fingerprint([section.model_construct()], errors)["parameters"]) == [name]


@pytest.mark.parametrize(
    "change",
    [("2 * x", "x * 2"), ("double", "twice"), ("(x)", "(x=1)"), ("    return", "    x += 1\n    return")],
)
def test_statements_change_the_fingerprint(module, change):
    assert change[0] in CODE
    before = expected(maker=module(CODE))
    assert expected(maker=module(CODE.replace(*change))) != before


@pytest.mark.parametrize("stop", [ValueError("broken"), KeyboardInterrupt])
def test_a_failing_make_leaves_nothing_behind(workspace, stop):
    def fail(folder):
        (folder / "half.txt").touch()
        raise stop

    with pytest.raises((ValueError, KeyboardInterrupt)):
        ensure("features", expected(), fail)
    assert names_in(workspace / "artifacts") == []
    with pytest.raises(ArtefactError, match="does not exist"):
        require("features", expected(), "backbone")


def test_a_failing_make_leaves_the_older_artefact_of_other_parameters_usable(workspace, make):
    def fail(_):
        raise ValueError("broken")

    folder = ensure("features", expected(500), make)
    with pytest.raises(ValueError, match="broken"):
        ensure("features", expected(250), fail)
    assert require("features", expected(500), "backbone") == folder
    assert (folder / "result.txt").exists()


def test_a_folder_left_by_a_killed_process_is_not_taken_for_whole(workspace, make, made):
    partial = workspace / "artifacts" / f".features.{platform.node()}.{os.getpid()}.partial"
    partial.mkdir(parents=True)
    (partial / "half.txt").touch()
    assert names_in(ensure("features", expected(), make)) == [artefacts.FINGERPRINT, "result.txt"]
    assert len(made) == 1


def test_a_folder_without_a_fingerprint_is_not_taken_for_whole(workspace, make):
    folder = ensure("features", expected(), make)
    (folder / artefacts.FINGERPRINT).unlink()
    assert not artefacts.is_there("features", expected())
    with pytest.raises(ArtefactError, match="artifacts/features does not exist"):
        require("features", expected(), "backbone")
    assert (ensure("features", expected(), make) / "result.txt").read_text() == "made 2 times"


@pytest.mark.parametrize(
    "content",
    ['{"parameters": ', "null", "[]", '{"made_from": {}, "sizes": null}', '{"made_from": {}, "sizes": 3}'],
)
def test_a_damaged_fingerprint_is_named_and_made_again(workspace, make, made, content):
    folder = ensure("features", expected(), make)
    (folder / artefacts.FINGERPRINT).write_text(content)
    with pytest.raises(ArtefactError, match=r"features/fingerprint\.json is damaged: run 'dvc repro backbone'"):
        require("features", expected(), "backbone")
    ensure("features", expected(), make)
    assert len(made) == 2


def test_a_file_that_is_altered_at_equal_size_is_named_and_the_artefact_made_again(workspace, make, made):
    """Labels in another order, for example: what comes from them would be taken for results."""
    path = ensure("features", expected(), make) / "result.txt"
    path.write_text(path.read_text()[::-1])
    with pytest.raises(ArtefactError, match=r"features/result\.txt was altered after .* 'dvc repro backbone'"):
        require("features", expected(), "backbone")
    with pytest.raises(ArtefactError, match="was altered"):
        expected(inputs=["features"])
    ensure("features", expected(), make)
    assert path.read_text() == "made 2 times"


def test_an_artefact_that_notes_sizes_alone_is_loaded(workspace, make, made):
    path = ensure("features", expected(), make) / artefacts.FINGERPRINT
    noted = json.loads(path.read_text())
    assert list(noted.pop("sha256")) == ["result.txt"]
    path.write_text(json.dumps(noted))
    require("features", expected(), "backbone")
    path.with_name("result.txt").write_text("short")
    with pytest.raises(ArtefactError, match="missing or truncated"):
        require("features", expected(), "backbone")


def test_a_content_is_digested_once_a_process(workspace, make, monkeypatch):
    ensure("features", expected(), make)
    require("features", expected(), "backbone")
    monkeypatch.setattr("hashlib.file_digest", None)
    require("features", expected(), "backbone")


def test_require_returns_what_fits(workspace, make):
    folder = ensure("features", expected(), make)
    assert require("features", expected(), "backbone") == folder


def test_require_names_what_is_missing_and_the_remedy(workspace):
    with pytest.raises(ArtefactError) as caught:
        require("features", expected(), "backbone")
    assert str(caught.value) == "artifacts/features does not exist: run 'dvc repro backbone' first"


def test_require_names_the_first_parameter_that_differs(workspace, make):
    ensure("features", expected(500), make)
    with pytest.raises(ArtefactError) as caught:
        require("features", expected(250), "backbone")
    message = str(caught.value)
    assert "artifacts/features is of another run" in message
    assert "parameters.features.batch_size is 500, expected 250" in message
    assert "run 'dvc repro backbone' first" in message
    assert "\n" not in message


def test_require_names_the_module_whose_code_differs(workspace, make, module):
    ensure("features", expected(maker=module(CODE)), make)
    changed = module(CODE + "\n\nx = 1\n")
    with pytest.raises(ArtefactError, match=rf"code\.{changed.__name__} is "):
        require("features", expected(maker=changed), "backbone")


@pytest.mark.parametrize(
    "lists", [([1, 2], [1, 3]), ([1], [1, 2]), (None, 0), (None, "absent"), ("absent", None)]
)
def test_whatever_ensure_would_make_again_require_refuses(workspace, make, lists):
    found, wanted = ({} if value == "absent" else {"key": value} for value in lists)
    ensure("features", {"parameters": found}, make)
    assert not artefacts.is_there("features", {"parameters": wanted})
    with pytest.raises(ArtefactError, match=r"parameters\.key"):
        require("features", {"parameters": wanted}, "backbone")


def test_sections_of_equal_keys_are_told_apart(workspace):
    branches = BranchParameters.model_construct(batch_size=1)
    features = FeatureParameters.model_construct(batch_size=1)
    assert branches.model_dump() == features.model_dump()
    assert fingerprint([branches], errors) != fingerprint([features], errors)


def test_saved_tensors_are_read_back(tmp_path):
    tensors = {"a": torch.arange(6).view(2, 3), "b": {"c": torch.tensor([0.5, torch.inf])}}
    artefacts.save_tensors(tmp_path / "tensors.pt", tensors)
    found = artefacts.load_tensors(tmp_path / "tensors.pt")
    assert torch.equal(found["a"], tensors["a"])
    assert torch.equal(found["b"]["c"], tensors["b"]["c"])


def test_equal_tensors_give_equal_bytes(tmp_path):
    values = torch.arange(24.0).view(2, 3, 2, 2)
    equal = {
        "plain": values,
        "copy": values.clone(),
        "view": torch.arange(48.0).view(4, 3, 2, 2)[:2],
        "channels_last": values.clone(memory_format=torch.channels_last),
    }
    contents = set()
    for name, tensor in equal.items():
        artefacts.save_tensors(tmp_path / f"{name}.pt", {"weights": tensor})
        contents.add((tmp_path / f"{name}.pt").read_bytes())
    assert len(contents) == 1


def test_other_tensors_give_other_bytes(tmp_path):
    for number in (1.0, 2.0):
        artefacts.save_tensors(tmp_path / f"{number}.pt", {"weights": torch.tensor([number])})
    assert (tmp_path / "1.0.pt").read_bytes() != (tmp_path / "2.0.pt").read_bytes()


@pytest.mark.parametrize(
    "damage", [lambda content: content[: len(content) // 2], lambda _: b"", lambda _: b"no zip"]
)
def test_a_damaged_file_is_named_with_the_remedy(tmp_path, damage):
    path = tmp_path / "tensors.pt"
    artefacts.save_tensors(path, {"weights": torch.zeros(1000)})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ArtefactError) as caught:
        artefacts.load_tensors(path)
    assert str(caught.value) == f"{path} cannot be read: delete it and run 'dvc repro'"


def test_a_file_that_would_run_code_is_refused(tmp_path):
    path = tmp_path / "tensors.pt"
    torch.save({"folder": Path("somewhere")}, path)
    with pytest.raises(ArtefactError, match="cannot be read"):
        artefacts.load_tensors(path)
