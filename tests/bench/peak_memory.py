"""Peak memory of one step: `python peak_memory.py CASE ours|theirs` prints bytes.

A process of its own per measurement. The inputs exist and a small step has loaded every library, then the kernel's
record of the largest resident size is reset, the step runs once, and the growth is what it needed: maps kept for the
backward pass, temporaries, and whatever scratch memory the libraries below torch take. (tracemalloc and torch's own
profiler would not see the latter.)
"""

import sys

import torch

from moereg.metrics.cost import peak_bytes

WARM_UP = 16  # voxels


def measure(case_name: str, side: str) -> int:
    from cases import CASES

    torch.set_num_threads(2)
    case = next(case for case in CASES if case.name == case_name)
    which = ("ours", "theirs").index(side)
    case.build(WARM_UP)[which]()
    return peak_bytes(case.build(case.size)[which])


if __name__ == "__main__":
    print(measure(*sys.argv[1:]))
