import os

import pytest
import torch
from joblib import parallel_config

from btsee_lib import parallel
from btsee_lib.parallel import exactly, in_processes


def test_threads_are_as_asked_for_and_afterwards_as_before():
    before = torch.get_num_threads()
    with exactly(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_another_number_of_threads_than_asked_for_is_an_error(monkeypatch):
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    with (
        pytest.raises(RuntimeError, match="threads, and not with"),
        exactly(torch.get_num_threads() + 1),
    ):
        pass


def of_process(number):
    return number, os.getpid()


@pytest.fixture
def cores(monkeypatch):
    """A machine of so many processor cores, with or without a GPU, that may start processes."""

    def switch(number, device="cpu"):
        monkeypatch.setattr("joblib.cpu_count", lambda: number)
        monkeypatch.setattr(parallel, "compute_device", lambda: torch.device(device))

    with parallel_config("loky"):
        yield switch


def test_calls_run_in_other_processes_and_their_results_come_in_order(cores):
    cores(2)
    found = in_processes(of_process, [(number,) for number in range(4)])
    assert [number for number, _ in found] == [0, 1, 2, 3]
    assert os.getpid() not in {process for _, process in found}


@pytest.mark.parametrize(("number", "device", "calls"), [(2, "cpu", 1), (1, "cpu", 2), (2, "cuda", 2)])
def test_a_single_call_a_single_core_or_a_gpu_needs_no_other_process(cores, number, device, calls):
    cores(number, device)
    assert in_processes(of_process, [(call,) for call in range(calls)]) == [
        (call, os.getpid()) for call in range(calls)
    ]


def test_without_calls_there_are_no_results(cores):
    cores(2)
    assert in_processes(of_process, []) == []
