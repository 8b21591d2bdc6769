"""SHMoAReg as torch.compile (inductor) makes it beside itself, one pair: prints JSON, seconds and the difference.

In a process of its own: the tests' hook, which checks shapes at every call, leaves nothing that it could compile.
"""

import json
import sys
import time
from statistics import median

import torch
from torch._dynamo.utils import counters

from moereg import models


def measure(size: int, rounds: int = 7) -> dict:
    torch.set_num_threads(2)
    torch.manual_seed(0)
    network = models.build("shmoareg").eval()
    images = torch.rand(2, 1, 1, size, size, size)
    made = torch.compile(network)
    times: dict[str, list[float]] = {"compiled": [], "plain": []}
    with torch.no_grad():
        began = time.perf_counter()
        found = made(*images).displacement
        compiling = time.perf_counter() - began
        plain = network(*images).displacement
        for _ in range(rounds):
            for name, run in (("compiled", made), ("plain", network)):
                began = time.perf_counter()
                run(*images)
                times[name].append(time.perf_counter() - began)
    assert counters["stats"]["unique_graphs"] >= 1, "nothing was compiled"
    difference = float((found - plain).norm() / plain.norm())
    return {name: median(values) for name, values in times.items()} | {
        "size": size,
        "graphs": counters["stats"]["unique_graphs"],
        "difference": difference,
        "seconds_of_compiling": compiling,
    }


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))
