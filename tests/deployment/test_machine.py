import numpy as np
import pytest
import torch

from btsee_lib.deployment import machine


def test_the_machine_is_named():
    told = machine.machine_table(onnx_threads=3).set_index("name")["value"]
    assert told["threads of ONNX Runtime"] == 3
    assert told["threads of PyTorch"] == torch.get_num_threads()
    assert {"processor", "cores", "torch", "onnxruntime"} <= set(told.index)
    assert np.all(told.notna())


def test_threads_are_as_asked_for_and_afterwards_as_before():
    before = torch.get_num_threads()
    with machine.exactly(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_another_number_of_threads_than_asked_for_is_an_error(monkeypatch):
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    with (
        pytest.raises(RuntimeError, match=r"set deployment\.threads"),
        machine.exactly(torch.get_num_threads() + 1),
    ):
        pass
