import pytest

from btsee_lib import training
from btsee_lib.store.code import digests_of_code, import_closure

# A worker and all that it imports, in as many ways as there are; ``stranger`` it does not import.
SOURCES = {
    "worker": '''"""What the worker does."""

from typing import TYPE_CHECKING

import PACKAGE.whole
from PACKAGE import taken
from PACKAGE.named import value
from PACKAGE.inner import handed_on

from . import near
from .beside import sibling

if TYPE_CHECKING:
    from PACKAGE.annotation import Kind


def work(kind: "Kind"):
    """Say what it does."""
    from PACKAGE.late import result

    return PACKAGE.whole.result + taken.result + value + handed_on + near.result + sibling + result
''',
    "whole": "result = 1\n",
    "taken": "from PACKAGE.deep import result\n",
    "deep": "result = 1\n",
    "named": "value = 1\n",
    "near": "result = 1\n",
    "beside": "sibling = 1\n",
    "late": "import PACKAGE.later\n\nresult = PACKAGE.later.result\n",
    "later": "import PACKAGE.late\n\nresult = 1\n",  # a circle
    "inner/__init__": "from PACKAGE.inner.hidden import handed_on\n",
    "inner/hidden": "handed_on = 1\n",
    "annotation": "class Kind:\n    pass\n",
    "stranger": "import PACKAGE.worker\n\nresult = 1\n",
}
CLOSURE = ["worker", "whole", "taken", "deep", "named", "near", "beside", "late", "later"]
CLOSURE += ["inner/__init__", "inner/hidden"]


@pytest.fixture
def changed(package):
    """Whether the digests of the worker's code are others once a source is changed by a replacement."""

    def compare(module, before, after):
        assert before in SOURCES[module]
        name = package(SOURCES)
        first = digests_of_code(f"{name}.worker")
        package({module: SOURCES[module].replace(before, after)})
        return digests_of_code(f"{name}.worker") != first

    return compare


def test_the_closure_is_the_module_and_all_that_it_imports_in_turn(package):
    name = package(SOURCES)
    expected = [f"{name}.{each.removesuffix('/__init__').replace('/', '.')}" for each in CLOSURE]
    assert import_closure(f"{name}.worker") == sorted(expected)
    assert list(digests_of_code(f"{name}.worker")) == sorted(expected)


@pytest.mark.parametrize("module", CLOSURE)
def test_a_new_statement_in_any_module_of_the_closure_changes_the_digests(changed, module):
    last = SOURCES[module].splitlines()[-1]
    assert changed(module, last, f"{last}\n\n\nanother = 2")


@pytest.mark.parametrize("module", [each for each in CLOSURE if "= 1" in SOURCES[each]])
def test_another_value_in_any_module_of_the_closure_changes_the_digests(changed, module):
    assert changed(module, "= 1", "= 2")


@pytest.mark.parametrize(
    ("module", "before", "after"),
    [
        ("worker", "What the worker does.", "Another sentence."),
        ("worker", '    """Say what it does."""\n', ""),
        ("worker", "    return", "    # the sum of all\n    return"),
        ("deep", "result = 1", "result = 1  # for the time being"),
        ("late", "import", '"""What comes late."""\n\nimport'),
        ("later", "result = 1", "\nresult = (1)"),
    ],
)
def test_comments_docstrings_and_layout_do_not_change_the_digests(changed, module, before, after):
    assert not changed(module, before, after)


@pytest.mark.parametrize(
    ("module", "before", "after"), [("stranger", "= 1", "= 2"), ("annotation", "pass", "colour = 1")]
)
def test_what_is_not_imported_or_for_annotations_alone_does_not_change_the_digests(
    changed, module, before, after
):
    assert not changed(module, before, after)


def test_the_digest_of_a_module_depends_on_its_own_code_alone(package):
    name = package(SOURCES)
    before = digests_of_code(f"{name}.worker")
    package({"deep": "result = 2\n"})
    after = digests_of_code(f"{name}.worker")
    assert [each for each in before if before[each] != after[each]] == [f"{name}.deep"]


def test_the_library_is_followed_from_outside_and_other_packages_are_not(package):
    name = package({"worker": "import numpy\nfrom btsee_lib import cost\n"})
    assert import_closure(f"{name}.worker") == ["btsee_lib.cost", f"{name}.worker"]


def test_the_training_of_a_backbone_depends_on_no_more_than_it_needs():
    names = ["augmentation", "backbone", "compute", "data.splits", "disk", "errors", "training"]
    assert import_closure(training.__name__) == [f"btsee_lib.{each}" for each in names]
