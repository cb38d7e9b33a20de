import subprocess
import sys
from inspect import signature
from typing import Literal, get_args, get_origin

import pytest
import yaml
from own_pictures import CHANGES, PICTURES

from btsee_lib.backbone import BACKBONES
from btsee_lib.config import SECTIONS
from btsee_lib.data.sets import DATA_SETS
from btsee_lib.errors import ParameterError
from btsee_lib.pipeline import limits


@pytest.fixture
def check(workspace, repository):
    """Check the main experiment's parameters with some of them changed."""
    (workspace / "btsee_lib").mkdir()

    def checked(*changes):
        content = yaml.safe_load((repository / "params.yaml").read_text())
        for key, value in zip(changes[::2], changes[1::2], strict=True):
            section, name = key.split(".")
            content[section][name] = value
        (workspace / "params.yaml").write_text(yaml.safe_dump(content))
        limits.check()

    return checked


@pytest.mark.parametrize(("key", "most"), [(key, most) for key, (most, _) in limits.MOST.items()])
def test_a_hopeless_value_is_named_with_the_reason(check, key, most):
    several = {"branches.channels": 3, "deployment.batch_sizes": 1}.get(key)
    value = most + 1
    with pytest.raises(
        ParameterError, match=rf"{key} is {value:,}(\.0)?: take at most {most:,}, since {limits.MOST[key][1]}"
    ):
        check(key, [value] * several if several else value)
    small_images_never = ("backbone.reduced_epochs", 0)  # so that no size is too large for the data set
    check(key, [most] * several if several else most, *small_images_never)


@pytest.mark.parametrize(("key", "most"), [(key, most) for key, (most, _) in limits.LONGEST.items()])
def test_a_list_longer_than_anybody_waits_for_is_refused(check, key, most):
    with pytest.raises(ParameterError, match=f"the length of {key} is {most + 1}: take at most {most}, since"):
        check(key, list(range(1, most + 2)))
    check(key, list(range(1, most + 1)))


@pytest.mark.parametrize(("key", "known"), [("data", "fashion-mnist, cinic-10"), ("backbone", "resnet18")])
def test_a_name_that_is_in_no_table_is_told_with_those_that_are(check, key, known):
    with pytest.raises(ParameterError, match=rf"{key}\.name is 'mnist': use one of {known}"):
        check(f"{key}.name", "mnist")


def test_names_that_the_tables_were_given_are_known(check, monkeypatch):
    monkeypatch.setitem(DATA_SETS, "noise", None)
    monkeypatch.setitem(BACKBONES, "three stages", None)
    check("data.name", "noise", "backbone.name", "three stages")


def test_an_experiment_apart_from_the_library_may_add_names_when_it_runs(check, workspace):
    (workspace / "btsee_lib").rmdir()
    check("data.name", "elpv")


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [("fashion-mnist", "path", "."), ("fashion-mnist", "image_size", 32), ("cifar-10", "image_size", 32)],
)
def test_a_key_that_the_data_set_does_not_take_is_told(check, name, key, value):
    with pytest.raises(ParameterError, match=rf"data\.{key} has no meaning for the data set '{name}'"):
        check("data.name", name, f"data.{key}", value)
    check("data.name", "cinic-10", f"data.{key}", value)


def test_which_data_set_takes_which_key_is_what_their_functions_take():
    for key, names in limits.TAKEN_BY.items():
        taking = {name for name in limits.NAMES["data"][0] if key in signature(DATA_SETS[name]).parameters}
        assert set(names) == taking


def test_pictures_of_ones_own_need_a_path_at_which_something_is(check, workspace):
    with pytest.raises(ParameterError, match=r"data\.path is null: name the folder or archive"):
        check("data.name", "folder")
    with pytest.raises(ParameterError, match=r"data\.path is 'pictures', and .*pictures is not there"):
        check("data.name", "folder", "data.path", "pictures")
    (workspace / "pictures").mkdir()
    check("data.name", "folder", "data.path", "pictures")


def test_images_are_reduced_to_no_more_than_they_have(check):
    with pytest.raises(ParameterError, match=r"reduced_size is 29: take at most 28, since images have"):
        check("backbone.reduced_size", 29)
    check("backbone.reduced_size", 28)
    check("backbone.reduced_size", 29, "data.name", "cifar-10")
    check("backbone.reduced_size", 29, "backbone.reduced_epochs", 0)
    with pytest.raises(ParameterError, match=r"reduced_size is 20: take at most 16"):
        check("data.name", "cinic-10", "data.image_size", 16)


def test_what_is_known_by_name_is_told_without_torch(repository):
    """A stage starts with this, and torch would take longer than most stages do."""
    code = "import sys; from btsee_lib.pipeline.limits import check; check(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


def test_no_momentum_is_refused_before_the_training_does(check):
    with pytest.raises(ParameterError, match=r"backbone\.momentum is 0: take more"):
        check("backbone.momentum", 0.0)
    check("backbone.momentum", 0.1)


def test_as_many_lists_of_margins_as_branches_are_asked_for(check):
    with pytest.raises(ParameterError, match=r"margins has 2 lists and branches\.channels 3 numbers: give 3"):
        check("boosting.margins", [[0.0]] * 2)


def test_as_many_branches_as_the_backbone_has_are_asked_for(check, monkeypatch):
    two = ("branches.channels", [8, 8], "boosting.margins", [[0.0]] * 2)
    with pytest.raises(
        ParameterError, match=r"2 lists and branches\.channels 2 numbers: give 3 of each, one for"
    ):
        check(*two)
    monkeypatch.setitem(BACKBONES, "three stages", None)
    check(*two, "backbone.name", "three stages")


def test_the_branches_of_a_backbone_that_is_known_without_torch_are_those_behind_its_stages():
    assert set(limits.BRANCHES) == set(BACKBONES)
    for name, number in limits.BRANCHES.items():
        assert len(BACKBONES[name](num_classes=2, in_channels=1, width=8, stem="small").stages) == number + 1


@pytest.mark.parametrize(("processes", "fewest"), [(1, 2), (3, 6)])
def test_a_batch_has_two_images_for_each_process(check, processes, fewest):
    with pytest.raises(
        ParameterError, match=rf"backbone\.batch_size is {fewest - 1}: take {fewest} or more, two a"
    ):
        check("backbone.batch_size", fewest - 1, "compute.processes", processes)
    check("backbone.batch_size", fewest, "compute.processes", processes)


def test_a_backbone_below_which_no_narrower_network_is_taken_is_refused_by_its_width(check):
    with pytest.raises(
        ParameterError, match=r"backbone\.width is 8: take more, since deployment\.static_width"
    ):
        check("backbone.width", 8, "deployment.static_width", 8)
    check("backbone.width", 9, "deployment.static_width", 8)


def test_a_path_that_is_too_long_for_the_disk_ends_in_a_sentence(check):
    with pytest.raises(ParameterError, match=r"data\.path is 'xxx.*is not there: correct it"):
        check("data.name", "folder", "data.path", "x" * 5000)


def test_more_configurations_than_anybody_waits_for_are_refused(check):
    margins = [[number / 100 for number in range(17)]] * 3
    with pytest.raises(ParameterError, match=r"combinations of boosting\.margins is 4,913: take at most 4,096"):
        check("boosting.margins", margins)


def test_margins_of_classes_of_another_number_are_refused_before_the_data_are_there(check):
    with pytest.raises(
        ParameterError, match="class_margins has 9 entries: give one for each of the 10 classes"
    ):
        check("boosting.class_margins", [0.0] * 9)
    check("boosting.class_margins", [0.0] * 10)


def test_more_survivors_than_there_are_images_are_refused_before_the_data_are_there(check):
    with pytest.raises(ParameterError, match=r"min_survivors is 10,001: take at most 10,000, since train"):
        check("boosting.min_survivors", 10_001)
    with pytest.raises(ParameterError, match=r"min_survivors is 301: take at most 300, since train or valid"):
        check("boosting.min_survivors", 301, "data.limit", 300)
    check("boosting.min_survivors", 10_001, "data.name", "cinic-10", "data.path", ".")


def test_the_names_known_without_torch_are_those_of_the_tables():
    ours = set(DATA_SETS) - {"elpv"}  # industrial/ adds it, where its tests were read before
    assert set(limits.NAMES["data"][0]) == ours
    assert set(limits.PUBLISHED) == ours - {"folder"}
    assert limits.NAMES["backbone"][0] == tuple(BACKBONES)


def test_the_toy_experiments_give_every_key_two_other_values(repository):
    main = yaml.safe_load((repository / "params.yaml").read_text())
    of_their_own = {"data.name", "data.path", "backbone.name"}
    for section, values in main.items():
        for name in values:
            given = [changes[section].get(name, values[name]) for changes in CHANGES.values()]
            others = {str(value) for value in given} - {str(values[name])}
            kind = SECTIONS[section].model_fields[name].annotation
            of_two = kind is bool or (get_origin(kind) is Literal and len(get_args(kind)) == 2)
            if f"{section}.{name}" not in of_their_own:
                assert len(others) == (1 if of_two else 2), f"{section}.{name}"


@pytest.mark.parametrize("name", CHANGES)
def test_the_toy_experiments_ask_for_nothing_hopeless(workspace, repository, name):
    content = yaml.safe_load((repository / "params.yaml").read_text())
    own = {"name": "folder", "path": "pictures", **CHANGES[name]["data"]}
    for section, changes in (CHANGES[name] | {"data": own}).items():
        content[section] |= changes
    (workspace / "params.yaml").write_text(yaml.safe_dump(content))
    (workspace / "pictures").mkdir()
    limits.check()
    pictures = sum(PICTURES[name])
    assert content["boosting"]["min_survivors"] <= pictures // 5, "check_data would refuse it"
