"""What a computation costs: peak memory, multiply-adds, how both grow, and what fits into a device.

Memory is measured where it is used: on a CPU as the largest growth of the process' resident size, which holds whatever
the libraries below torch take too, so a process of its own measures best; on a GPU as what torch allocated.
"""

import contextlib
import ctypes
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import moereg.nn.dispatch  # noqa: F401  registers the operators that are counted


def peak_bytes(step: Callable[[], object], device: torch.device | str = "cpu") -> int:
    """How many bytes more than before are in use at most while `step` runs."""
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        return torch.cuda.max_memory_allocated(device) - before
    before = reset_peak()
    step()
    return peak() - before


def reset_peak() -> int:
    """Resident bytes now; from here on `peak` counts anew where the system can (Linux).

    What was freed is handed back first: kept by the allocator, it would be used again and not be seen.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):
        # The kernel's record of the largest size starts anew.
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return peak()


def peak() -> int:
    """Largest resident bytes since `reset_peak`, or since the start where the system knows only that."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource  # not there on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@torch.no_grad()
def multiply_adds(step: Callable[[], object]) -> int:
    """Multiply-adds of convolutions and matrix products in `step`, by torch's counter (its operations are two each).

    oneDNN and fused attention are left out meanwhile: the counter knows torch's own operations alone.
    """
    of_tokens = {
        torch.ops.moereg.to_experts: _operations_of_tokens,
        torch.ops.moereg.from_experts: _operations_of_tokens,
    }
    with (
        torch.backends.mkldnn.flags(enabled=False),
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False, custom_mapping=of_tokens) as counter,
    ):
        step()
    return counter.get_total_flops() // 2


def _operations_of_tokens(rows: Sequence[int], weights: Sequence[int], order: Sequence[int], *_, **__) -> int:
    """Of `moereg.nn.dispatch`: every pair of token and chosen expert is one row times one matrix."""
    return 2 * order[0] * weights[1] * weights[2]


def growth_exponent(voxels: Sequence[float], costs: Sequence[float]) -> float:
    """The e of `cost ~ voxels^e`: slope of the straight line through the logarithms."""
    return float(np.polyfit(np.log(voxels), np.log(costs), 1)[0])


def steepest(voxels: Sequence[float], costs: Sequence[float]) -> float:
    """The largest exponent between two neighbouring sizes: a step upwards shows here."""
    return float(np.max(np.diff(np.log(costs)) / np.diff(np.log(voxels))))


def largest_edge(voxels: Sequence[float], costs: Sequence[float], capacity: float, *, multiple: int = 8) -> int:
    """Edge of the largest cube whose cost `a + b voxels` stays within `capacity`, a multiple of 8 voxels."""
    slope, start = np.polyfit(voxels, costs, 1)
    fits = max(0.0, (capacity - start) / slope)
    return int(math.floor(round(fits ** (1 / 3), 6) / multiple) * multiple)
