"""Peak memory of one step: `python peak_memory.py CASE ours|theirs` prints bytes.

A process of its own per measurement. The inputs exist and a small step has loaded every library, then the kernel's
record of the largest resident size is reset, the step runs once, and the growth is what it needed: maps kept for the
backward pass, temporaries, and whatever scratch memory the libraries below torch take. (tracemalloc and torch's own
profiler would not see the latter.)
"""

import contextlib
import resource
import sys
from pathlib import Path

import torch

WARM_UP = 16  # voxels


def measure(case_name: str, side: str) -> int:
    from cases import CASES

    torch.set_num_threads(2)
    case = next(case for case in CASES if case.name == case_name)
    which = ("ours", "theirs").index(side)
    case.build(WARM_UP)[which]()
    step = case.build(case.size)[which]
    before = reset()
    step()
    return peak() - before


def reset() -> int:
    """Resident bytes now; from here on `peak` counts anew where the system can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> int:
    """Largest resident bytes since `reset`, or since the start where the system knows only that."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    print(measure(*sys.argv[1:]))
