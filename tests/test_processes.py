"""What a process knows of the others, and how work is shared; several of them: tests/training/test_together.py."""

import torch

from moereg.processes import ALONE, Process, over_processes, share, sharing, this_process, whole_again


def test_a_process_knows_itself_by_what_torchrun_says(monkeypatch):
    for name in ("TORCHELASTIC_RUN_ID", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert this_process() == ALONE == Process(0, 1, 0, 1)
    monkeypatch.setenv("WORLD_SIZE", "8")  # of another launcher
    assert this_process() == ALONE
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "RANK": "5", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    own = this_process()
    assert own == Process(5, 8, 1, 4)
    assert (own.first, own.machines, ALONE.first) == (False, 2, True)


def test_shares_are_every_nth_item():
    parts = [share(range(7), Process(rank, 3)) for rank in range(3)]
    assert parts == [[0, 3, 6], [1, 4], [2, 5]]
    assert whole_again([3, 1], ALONE) == [3, 1]


def test_alone_a_mean_is_its_own():
    tensor = torch.ones(2)
    with sharing():
        assert over_processes(tensor) is tensor
