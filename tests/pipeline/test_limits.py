import pytest
import yaml
from own_pictures import CHANGES

from btsee_lib.data.sets import DATA_SETS
from btsee_lib.errors import ParameterError
from btsee_lib.pipeline import limits


@pytest.fixture
def check(workspace, repository):
    """Check the main experiment's parameters with one of them changed."""

    def checked(key, value):
        content = yaml.safe_load((repository / "params.yaml").read_text())
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
    check(key, [most] * several if several else most)


def test_no_momentum_is_refused_before_the_training_does(check):
    with pytest.raises(ParameterError, match=r"backbone\.momentum is 0: take more"):
        check("backbone.momentum", 0.0)
    check("backbone.momentum", 0.1)


def test_as_many_lists_of_margins_as_branches_are_asked_for(check):
    with pytest.raises(ParameterError, match=r"margins has 2 lists and branches\.channels 3 numbers"):
        check("boosting.margins", [[0.0]] * 2)


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


def test_every_published_data_set_has_its_number_of_classes():
    ours = set(DATA_SETS) - {"elpv"}  # industrial/ adds it, where its tests were read before
    assert set(limits.CLASSES) == ours - {"folder"}


def test_the_toy_experiments_give_every_key_two_other_values(repository):
    main = yaml.safe_load((repository / "params.yaml").read_text())
    of_their_own = {"data.name", "data.path", "backbone.name", "compute.processes"}
    for section, values in main.items():
        for name in values:
            given = [changes[section].get(name, values[name]) for changes in CHANGES.values()]
            if f"{section}.{name}" not in of_their_own:
                assert any(value != values[name] for value in given), f"{section}.{name}"
