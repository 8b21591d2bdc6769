"""What methods cost in volumes, for `make compare`: each is measured in a process of its own.

`python -m tools.compare_costs shmoareg 32,48,64 cpu` measures one and prints its rows as JSON.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch

from moereg.classical import METHODS
from moereg.classical.itk import ITK_METHODS
from moereg.data import phantoms
from moereg.metrics.cost import multiply_adds, peak_bytes
from moereg.models import build
from tools.compare_entries import MODELS
from tools.syn import syn, there

ROOT = Path(__file__).resolve().parent.parent
SMALLEST = 16  # an edge that only loads libraries; it is not counted


def costs(edges: Sequence[int], device: str = "cpu", workers: int = 1) -> dict[str, list[dict]]:
    """Under "costs" a pair and a training step of each network, under "pair_costs" a pair of every other method."""
    others = [*METHODS, *ITK_METHODS, *(["ants-syn"] if there() else [])]

    def ask(name: str) -> list[dict]:
        command = [sys.executable, "-m", "tools.compare_costs", name, ",".join(map(str, edges)), device]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ)
        if done.returncode:
            raise RuntimeError(f"the cost of {name} could not be measured: {done.stderr.strip()[-500:]}")
        return json.loads(done.stdout.splitlines()[-1])

    with ThreadPoolExecutor(workers) as pool:
        found = {name: pool.submit(ask, name) for name in (*MODELS, *others)}
        try:
            rows = {name: one.result() for name, one in found.items()}
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return {
        "costs": [row for name in MODELS for row in rows[name]],
        "pair_costs": [row for name in others for row in rows[name]],
    }


def cost_of(name: str, edges: Sequence[int], device: str = "cpu") -> list[dict]:
    """Of one network: parameters, multiply-adds, time and memory of a pair and of a training step."""
    torch.manual_seed(0)
    model = build(name, dims=3, **MODELS[name]).to(device)
    found = []
    for edge in (SMALLEST, *edges):
        moving, fixed = (torch.rand(2, 1, *[edge] * 3, device=device) for _ in range(2))
        labels = torch.zeros(2, 1, *[edge] * 3, dtype=torch.long, device=device)
        labels[..., : edge // 2] = 1
        known = {"moving_labels": labels, "fixed_labels": labels} if name == "segreg" else {}
        pair = partial(_pair, model, moving[:1], fixed[:1], **{key: value[:1] for key, value in known.items()})
        row = {"method": name, "edge": edge, "parameters": sum(p.numel() for p in model.parameters())}
        step = partial(_step, model, moving, fixed, **known)
        row |= _measured("pair", pair, device) | _measured("step", step, device)
        if edge == edges[0]:
            row["multiply_adds"] = multiply_adds(pair)
        found.append(row)
    return found[1:]


def pair_cost_of(name: str, edges: Sequence[int]) -> list[dict]:
    """Time and memory of a pair of phantoms, for a method that is not trained."""
    run = syn if name == "ants-syn" else (METHODS | ITK_METHODS)[name]
    found = []
    for edge in (SMALLEST, *edges):
        pair = phantoms.make("abdomen", (edge,) * 3, 0)
        register = partial(run, pair.moving[None], pair.fixed[None])
        found.append({"method": name, "edge": edge} | _measured("pair", register))
    return found[1:]


def _measured(kind: str, run: Callable[[], object], device: str = "cpu") -> dict:
    taken = {f"{kind}_bytes": peak_bytes(run, device)}
    began = time.process_time()
    run()
    return taken | {f"{kind}_seconds": time.process_time() - began}


def _pair(model, moving, fixed, **labels) -> None:
    with torch.no_grad():
        model.eval()(moving, fixed, **labels)


def _step(model, moving, fixed, **labels) -> None:
    """Forward and backward; both directions are one batch, as in `fit`."""
    model.train().zero_grad()
    result = model(moving, fixed, **labels)
    (result.warped - fixed).square().mean().backward()


if __name__ == "__main__":
    asked, sizes, place = sys.argv[1:]
    torch.set_num_threads(1)
    at = [int(edge) for edge in sizes.split(",")]
    print(json.dumps(cost_of(asked, at, place) if asked in MODELS else pair_cost_of(asked, at)))
