"""Demons of ours and of SimpleITK while another process keeps a core busy: prints JSON, seconds of both.

Idle threads sleep, as the command line has it: `moereg.cli.threads` is asked before torch is loaded.
"""

import json
import os
import subprocess
import sys
import time
from statistics import median

from moereg.cli.threads import let_threads_sleep

let_threads_sleep(os.environ)

import torch  # noqa: E402
from cases import demons_iterations  # noqa: E402


def measure(variant: str, size: int = 64, rounds: int = 3) -> dict:
    torch.set_num_threads(2)
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        steps = dict(zip(("ours", "theirs"), demons_iterations(variant)(size), strict=True))
        times: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(rounds):
            for name, step in steps.items():
                began = time.perf_counter()
                step()
                times[name].append(time.perf_counter() - began)
    finally:
        busy.kill()
        busy.wait()
    return {name: median(values) for name, values in times.items()}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))
