import pytest
import torch

from btsee_lib.checkpoints import Checkpoint

STATE = {
    "weights": torch.arange(3.0),
    "optimizer": {"state": {0: {"step": 2}}},
    "rows": [{"epoch": 1, "loss": 0.5}],
}


@pytest.fixture
def checkpoint(tmp_path):
    return Checkpoint(tmp_path / "folder" / "training.pt")


def test_what_was_saved_last_is_loaded(checkpoint):
    checkpoint.save({"rows": []})
    checkpoint.save(STATE)
    loaded = checkpoint.load()
    assert torch.equal(loaded.pop("weights"), STATE["weights"])
    assert loaded == {name: STATE[name] for name in ("optimizer", "rows")}
    assert [path.name for path in checkpoint.path.parent.iterdir()] == ["training.pt"]


def test_without_a_file_there_is_no_state(checkpoint):
    assert checkpoint.load() is None
    checkpoint.remove()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda _: b"",
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: content[:200] + bytes([content[200] ^ 1]) + content[201:],
    ],
)
def test_a_damaged_one_is_not_used_and_named(checkpoint, damage, capsys):
    checkpoint.save(STATE)
    checkpoint.path.write_bytes(damage(checkpoint.path.read_bytes()))
    assert checkpoint.load() is None
    assert "training.pt is damaged" in capsys.readouterr().out


def test_an_interrupted_write_leaves_the_one_before(checkpoint, monkeypatch):
    checkpoint.save(STATE)

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(checkpoint.path), "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.save({"rows": []})
    assert checkpoint.load()["rows"] == STATE["rows"]


def test_it_is_gone_after_its_removal(checkpoint):
    checkpoint.save(STATE)
    checkpoint.remove()
    assert checkpoint.load() is None
