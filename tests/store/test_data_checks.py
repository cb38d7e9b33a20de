from dataclasses import replace

import pytest
import yaml

from btsee_lib.errors import DataError, ParameterError
from btsee_lib.store.data_checks import check_data


@pytest.fixture
def with_parameters(workspace, repository):
    """Write the main experiment's parameters with changes to some sections."""

    def write(**changes):
        content = yaml.safe_load((repository / "params.yaml").read_text())
        content = {name: content[name] | changes.get(name, {}) for name in content}
        (workspace / "params.yaml").write_text(yaml.safe_dump(content))

    return write


def test_what_goes_together_passes(splits, with_parameters):
    with_parameters(boosting={"class_margins": [0.0] * 10})
    check_data(splits)


@pytest.mark.parametrize(("limit", "remedy"), [(None, "add some"), (100, "raise data.limit, which is 100")])
def test_a_class_without_images_in_a_split_is_named(splits, with_parameters, limit, remedy):
    with_parameters(data={"limit": limit})
    valid = splits.valid.take((splits.valid.labels != 9).numpy())
    with pytest.raises(DataError, match=f"valid has no image of the class 'Ankle boot': {remedy}, or leave"):
        check_data(replace(splits, valid=valid))


def test_margins_of_classes_must_be_as_many_as_classes(splits, with_parameters):
    with_parameters(boosting={"class_margins": [0.0, 0.1]})
    with pytest.raises(
        ParameterError, match="class_margins has 2 entries: give one for each of the 10 classes"
    ):
        check_data(splits)


def test_more_survivors_asked_for_than_there_are_images_are_told_before_anything_is_trained(
    splits, with_parameters
):
    with_parameters(boosting={"min_survivors": len(splits.valid) + 1})
    with pytest.raises(ParameterError, match=r"min_survivors is 1001, and train or valid has 1000 images"):
        check_data(splits)
