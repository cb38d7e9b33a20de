import pytest
import torch

from btsee_lib.cascade import Cascade
from btsee_lib.deployment import cascade_file
from btsee_lib.deployment.cascade_file import (
    FORMAT,
    CascadeFileError,
    load_cascade,
    model_card,
    new_cascade,
    save_cascade,
)
from btsee_lib.exit_rules import EXIT_RULES

MEASURED = {
    "images": 10000,
    "accuracy": 0.9258,
    "backbone_accuracy": 0.9314,
    "reduction": 0.6634,
    "backbone_macs": 28_573_184,
    "exit1": 0.87,
    "exit2": 0.04,
    "exit3": 0.01,
    "exit4": 0.08,
}


@pytest.fixture
def saved(tmp_path, cascade, description):
    save_cascade(tmp_path / "cascade.pt", cascade, description)
    return tmp_path / "cascade.pt"


def tampered(path, change):
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)
    return path


def test_a_cascade_comes_back_as_it_was(saved, cascade, description, splits):
    again, told = load_cascade(saved)
    assert told == description
    images = description.normalise(splits.test.images[:200])
    found, expected = again.predict(images), cascade.predict(images)
    assert torch.equal(found.label, expected.label)
    assert torch.equal(found.exit, expected.exit)
    # Weights lie in memory in another order than in training, which changes the last digits.
    torch.testing.assert_close(found.confidence, expected.confidence, atol=1e-5, rtol=0)
    assert again.closed == cascade.closed
    assert [path.name for path in saved.parent.iterdir()] == ["cascade.pt"]


def test_a_closed_branch_stays_closed(tmp_path, cascade, description):
    thresholds = cascade.thresholds.clone()
    thresholds[1] = torch.inf
    closed = Cascade(cascade.backbone, cascade.branches, thresholds)
    save_cascade(tmp_path / "closed.pt", closed, description)
    assert load_cascade(tmp_path / "closed.pt")[0].closed == [False, True, False]


@pytest.mark.parametrize("name", EXIT_RULES)
def test_it_keeps_to_its_exit_rule(tmp_path, cascade, description, splits, name):
    rule = EXIT_RULES[name]
    thresholds = torch.full((3, 10), -0.5 if name == "entropy" else 0.8)
    other = Cascade(cascade.backbone, cascade.branches, thresholds, cascade.image_shape, rule)
    save_cascade(tmp_path / "other.pt", other, description.model_copy(update={"rule": name}))
    again, told = load_cascade(tmp_path / "other.pt")
    assert (again.rule, told.rule) == (rule, name)
    images = description.normalise(splits.test.images[:50])
    assert torch.equal(again.predict(images).exit, other.predict(images).exit)


def test_a_cascade_of_another_rule_than_described_is_not_written(tmp_path, cascade, description):
    other = description.model_copy(update={"rule": "entropy"})
    with pytest.raises(ValueError, match="the description names the exit rule 'entropy', the cascade has"):
        save_cascade(tmp_path / "cascade.pt", cascade, other)
    assert list(tmp_path.iterdir()) == []


def test_it_normalises_as_the_data_set_does(description, splits):
    images = splits.test.images[:5]
    assert torch.equal(description.normalise(images), splits.normalise(images))


def test_a_loaded_cascade_names_the_images_that_it_takes(saved, splits):
    again, _ = load_cascade(saved)
    with pytest.raises(ValueError, match=r"uint8 .*expected normalised float32 \(N, 1, 28, 28\)"):
        again.predict(splits.test.images[:2])
    with pytest.raises(ValueError, match=r"\(2, 1, 14, 14\): expected"):
        again.predict(torch.zeros(2, 1, 14, 14))


def test_a_new_cascade_lets_nothing_out(description):
    fresh = new_cascade(description)
    assert fresh.predict(torch.zeros(3, *description.image_shape)).exit.tolist() == [3, 3, 3]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CascadeFileError, match=r"away\.pt does not exist: name a file"):
        load_cascade(tmp_path / "away.pt")


@pytest.mark.parametrize("keep", [0, 10, 5000])
def test_a_truncated_file_is_refused(saved, keep):
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(CascadeFileError, match=r"cascade\.pt is damaged or is no cascade"):
        load_cascade(saved)


def test_a_file_with_code_in_it_is_refused_and_the_code_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("sprung").touch, ())

    torch.save({"format": FORMAT, "description": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(CascadeFileError, match="damaged or is no cascade"):
        load_cascade(tmp_path / "trap.pt")
    assert not (tmp_path / "sprung").exists()


def test_a_file_of_another_format_tells_both(saved):
    tampered(saved, lambda content: content.update(format=99))
    with pytest.raises(CascadeFileError, match=f"of format 99: this version reads format {FORMAT}"):
        load_cascade(saved)


def test_a_file_that_holds_something_else_is_refused(tmp_path):
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    with pytest.raises(CascadeFileError, match="is no cascade: name a file"):
        load_cascade(tmp_path / "tensor.pt")


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.pop("state"),
        lambda content: content.update(description="{}"),
        lambda content: content.update(description=content["description"].replace('"width":8', '"width":16')),
        lambda content: content.update(description=content["description"].replace("resnet18", "resnet19")),
        lambda content: content.update(description=content["description"].replace("CPM", "PMC")),
        lambda content: content["state"].update(thresholds=torch.zeros(3, 7)),
        lambda content: content["state"].update(thresholds=torch.full((3, 10), torch.nan)),
        lambda content: content["state"].pop("thresholds"),
        lambda content: content.update(state=None),
        lambda content: content.update(
            description=content["description"].replace('"margins":[', '"margins":[0.0,')
        ),
        lambda content: content.update(description=content["description"].replace('"std":[', '"std":[1.0,')),
    ],
)
def test_parts_that_do_not_fit_each_other_are_refused(saved, change):
    tampered(saved, change)
    with pytest.raises(CascadeFileError, match=r"parts that do not fit each other \(.+\): save it again"):
        load_cascade(saved)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("{}", "description data_set: Field required"),
        ('{"width": "wide"}', "description data_set: Field required"),
        ("{", "description: Invalid JSON"),
    ],
)
def test_what_is_wrong_in_a_description_is_named_with_its_place(saved, given, sentence):
    tampered(saved, lambda content: content.update(description=given))
    with pytest.raises(CascadeFileError, match=rf"do not fit each other \({sentence}"):
        load_cascade(saved)


def test_the_name_of_a_problem_stands_where_it_says_nothing(saved, monkeypatch):
    def silent(*_):
        raise RuntimeError

    monkeypatch.setattr(cascade_file, "new_cascade", silent)
    with pytest.raises(CascadeFileError, match=r"do not fit each other \(RuntimeError\)"):
        load_cascade(saved)


@pytest.mark.parametrize("changes", [{"mean": (0.1, 0.2)}, {"std": ()}])
def test_a_description_has_one_mean_and_spread_a_channel(description, changes):
    with pytest.raises(ValueError, match="give 1, one a channel"):
        cascade_file.Description(**description.model_dump() | changes)


def test_a_description_with_an_unknown_key_is_refused(description):
    with pytest.raises(ValueError, match="colour"):
        cascade_file.Description(**description.model_dump(), colour="red")


@pytest.fixture
def card(description):
    thresholds = torch.full((3, 10), 0.9)
    thresholds[1, 2] = torch.inf
    return model_card(description.model_copy(update={"measured": MEASURED}), thresholds)


def test_the_card_tells_data_accuracy_cost_and_limits(card):
    assert card.startswith("# fashion-mnist cascade")
    assert "10,000 test images" in card
    assert "| accuracy | 92.58 % (the backbone alone: 93.14 %) |" in card
    assert "| computation saved | 66.3 % of the backbone's 28.6 million" in card
    assert "87.0 %, 4.0 %, 1.0 %, 8.0 %" in card
    assert "a margin: of -10, -10, -10 points" in " ".join(card.split())
    assert "## Limits" in card


def test_the_card_lists_the_thresholds_of_all_classes(card, description):
    rows = [
        line
        for line in card.splitlines()
        if line.startswith(tuple(f"| {name} |" for name in description.classes))
    ]
    assert len(rows) == 10
    assert rows[2].endswith("| 0.90000 | never | 0.90000 |")
    assert rows[0].endswith("| 0.90000 | 0.90000 | 0.90000 |")


def test_a_missing_number_is_no_card(description):
    with pytest.raises(KeyError, match="images"):
        model_card(description, torch.zeros(3, 10))
