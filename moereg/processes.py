"""Several processes that do one job together, as torchrun starts them; one process otherwise.

    torchrun --nproc-per-node 8 -m moereg train ...      this_process() -> Process(rank=3, count=8, ...)

    with joined() as own:                                they can talk to each other within the block
        mine = share(range(100), own)                    every process another part
        everything = whole_again(mine, own)              the parts of all, in the old order, in every process

Nothing here is needed where there is one process, and nothing changes there.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

PATIENCE = timedelta(minutes=30)  # for a process that the others wait for; then they end with an error

Item = TypeVar("Item")


@dataclass(frozen=True)
class Process:
    """Which of how many processes this is, over all machines and on its own."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1

    @property
    def first(self) -> bool:
        """Whether it is the one that writes files and speaks."""
        return self.rank == 0

    @property
    def machines(self) -> int:
        """How many machines there are, each with as many processes as this one."""
        return self.count // self.local_count


ALONE = Process()


def this_process() -> Process:
    """This one, as torchrun describes it in the environment."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return ALONE
    return Process(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")))


def use_own_gpu() -> None:
    """From here on "cuda" means this process' own GPU, the one of its number on the machine."""
    import torch

    own = this_process()
    if own.count > 1 and torch.cuda.is_available():
        torch.cuda.set_device(own.local_rank % torch.cuda.device_count())


@contextmanager
def joined() -> Iterator[Process]:
    """Processes that were started together can exchange what they have, until the block ends."""
    from torch import distributed

    own = this_process()
    if own.count == 1 or distributed.is_initialized():
        yield own
        return
    distributed.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield own
    finally:
        distributed.destroy_process_group()


_sharing: list[bool] = []


@contextmanager
def sharing(shared: bool = True) -> Iterator[None]:
    """Within the block, in which every process does the same, `over_processes` is a mean over all of them."""
    _sharing.append(shared)
    try:
        yield
    finally:
        _sharing.pop()


def over_processes(own_mean: "Tensor") -> "Tensor":
    """The mean over all processes of a mean over a batch, within `sharing`; else the process' own.

    The gradient is that of the process' own part: averaged over the processes, as a training does it, that of the
    whole.
    """
    if not (_sharing and _sharing[-1]):
        return own_mean
    from torch import distributed

    if not distributed.is_initialized():
        return own_mean
    whole = own_mean.detach().clone()
    distributed.all_reduce(whole)
    return own_mean + (whole / distributed.get_world_size() - own_mean.detach())


def share(items: Sequence[Item], own: Process) -> list[Item]:
    """Every `count`-th item from the `rank`-th on."""
    return [items[index] for index in range(own.rank, len(items), own.count)]


def whole_again(mine: list[Item], own: Process) -> list[Item]:
    """What each process has of `share`, put together in the order that the items had."""
    if own.count == 1:
        return mine
    from torch import distributed

    parts: list = [None] * own.count
    distributed.all_gather_object(parts, mine)
    return [parts[index % own.count][index // own.count] for index in range(sum(map(len, parts)))]
