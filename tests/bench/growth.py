"""How time and memory of one model grow: `python growth.py MODEL` prints JSON, a row per edge of the volume.

One pair without a graph, on two threads; the smallest edge is run first and thrown away. SegReg gets two regions.
"""

import json
import sys
import time

import torch

from moereg import models
from moereg.metrics.cost import multiply_adds, peak_bytes

WARM_UP, EDGES = 16, (32, 64, 96, 128, 160)
COUNTED = 64  # edge at which multiply-adds are counted, and compared with the time


def measure(name: str) -> list[dict]:
    torch.set_num_threads(2)
    torch.manual_seed(0)
    model = models.build(name).eval()
    rows = []
    for edge in (WARM_UP, *EDGES):
        images = torch.rand(2, 1, 1, *[edge] * 3)
        labels = torch.zeros(1, 1, *[edge] * 3, dtype=torch.long)
        labels[..., : edge // 2] = 1
        known = {"moving_labels": labels, "fixed_labels": labels} if getattr(model, "needs_labels", False) else {}

        @torch.no_grad()
        def run(images=images, known=known):
            model(*images, **known)

        began = time.perf_counter()
        memory = peak_bytes(run)
        first = time.perf_counter() - began
        times = [first]
        for _ in range(2 if edge < 128 else 0):  # the large ones once
            began = time.perf_counter()
            run()
            times.append(time.perf_counter() - began)
        rows.append({"model": name, "edge": edge, "seconds": min(times), "bytes": max(memory, 1)})
        if edge == COUNTED:
            rows[-1]["multiply_adds"] = multiply_adds(run)
    return rows[1:]


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))
