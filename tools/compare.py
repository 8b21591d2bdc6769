"""`make compare`: all methods, the same pairs, every measure, equal steps and equal seconds, into data/compare/.

    python -m tools.compare                   phantoms of four families, flat, and hippocampus where it is there
    python -m tools.compare --full            volumes of 96^3, more steps, more pairs: for a GPU
    python -m tools.compare --quick --out F   everything in miniature, in a minute; its numbers mean nothing

One network of each kind is trained per seed, on pairs of all families together. Rule of stopping: a fixed number of
steps (budget "steps"), or the processor time that SHMoAReg takes for as many (budget "seconds"). What was broken off
goes on from `--work`. Classical methods run with the schedules of `moereg.classical`; ANTs' SyN runs where antspyx is
installed (extra `compare`). `--so-far` writes a run that is not done.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from moereg.classical import METHODS
from moereg.classical.itk import ITK_METHODS
from moereg.data import Pairs, datasets, phantoms
from moereg.demo import machine
from moereg.experiments import Protocol, Task, kept_in, train_one
from moereg.experiments.comparing import (
    Contestant,
    compare_row,
    processor_seconds_per_step,
    steps_of_equal_seconds,
)
from moereg.files import write_json_whole
from moereg.metrics.cost import multiply_adds, peak_bytes
from moereg.models import build, load_model
from moereg.models.segmentation import SMALL_BACKBONE
from moereg.training import Refined, TrainingConfig, best_device
from tools.syn import syn, there

ROOT = Path(__file__).resolve().parent.parent
FOLDER, WORK, NAME = ROOT / "data" / "compare", ROOT / ".compare", "compare.json"
REFERENCE = "shmoareg"
# Model -> sizes that differ from its default. SegReg registers the regions of the labels that it is handed.
MODELS = {
    REFERENCE: {},
    "drivenmorph": {},
    "rman": {},
    "segreg": {"backbone_sizes": SMALL_BACKBONE},
    "voxelmorph": {},
}
# Family and its axes -> networks of data/weights for it, those that are there.
SHIPPED = {
    ("abdomen", 2): ("abdomen-flat", "abdomen-flat-drivenmorph", "abdomen-flat-voxelmorph"),
    ("abdomen", 3): ("abdomen", "abdomen-voxelmorph"),
    ("hippocampus", 3): ("hippocampus", "hippocampus-drivenmorph", "hippocampus-rman", "hippocampus-voxelmorph"),
}
EXPLAINED = {
    "segreg": "is handed the true labels of both images, which no other method sees",
    "shipped": "networks of data/weights, trained for far longer than those of equal budgets",
}


@dataclass(frozen=True)
class Scale:
    """How large everything is."""

    shape: tuple[int, ...]
    train: int  # pairs of each family
    test: int
    steps: int
    seeds: tuple[int, ...]
    refine: int  # steps of instance optimisation
    edges: tuple[int, ...]  # of the cubes at which cost is measured
    families: tuple[str, ...] = ("abdomen", "brain", "cardiac", "lung")
    scans: int = 4  # pairs of hippocampus, zero for none
    device: str = "cpu"

    @property
    def training(self) -> TrainingConfig:
        """The same for all networks."""
        return TrainingConfig(self.steps, learning_rate=2e-3, smoothness=0.03, device=self.device)

    def pairs(self, family: str, split: str) -> Pairs:
        """Of one family; no subject is in two splits."""
        count, first = (self.train, 0) if split == "train" else (self.test, 9000)
        return [phantoms.make(family, self.shape, first + number) for number in range(count)]


SMALL = Scale((64, 64), 50, 4, 300, (0, 1, 2), 20, (32, 48, 64), scans=2)
QUICK = Scale((24, 24), 2, 2, 2, (0, 1), 2, (16, 24), families=("abdomen", "brain"), scans=0)
FULL = Scale((96, 96, 96), 100, 20, 4000, (0, 1, 2), 50, (64, 96, 128, 160), scans=40, device="cuda")


def trained(scale: Scale, budgets: dict[str, dict[str, int]], mixed: Pairs) -> Iterator[Contestant]:
    """Every network with every seed and both budgets; one of the same number of steps is taken as it is."""
    task = Task("all families", mixed, mixed)
    for budget, counts in budgets.items():
        for name, sizes in MODELS.items():
            protocol = Protocol(replace(scale.training, steps=counts[name]), seeds=scale.seeds, model=name, sizes=sizes)
            for seed in scale.seeds:
                yield Contestant(name, train_one(task, protocol, seed).eval(), seed, budget)


def mixture(scale: Scale) -> Pairs:
    """Training pairs of all families, in turn."""
    families = [scale.pairs(family, "train") for family in scale.families]
    return [pair for group in zip(*families, strict=True) for pair in group]


def steps_of_budgets(scale: Scale, mixed: Pairs, work: Path) -> dict[str, dict[str, int]]:
    """Budget -> network -> steps. Measured once: a run that goes on goes on with the same."""
    kept = work / "steps.json"
    if not kept.exists():
        each = {}
        for name, sizes in MODELS.items():
            torch.manual_seed(0)
            each[name] = processor_seconds_per_step(build(name, dims=len(scale.shape), **sizes), mixed, scale.training)
        equal = steps_of_equal_seconds(each, REFERENCE, scale.steps)
        write_json_whole(kept, {"steps": dict.fromkeys(MODELS, scale.steps), "seconds": equal})
    return json_of(kept)


def untrained() -> Iterator[Contestant]:
    """Methods without weights."""
    for name, run in (METHODS | ITK_METHODS).items():
        yield Contestant(name, run)
    if there():
        yield Contestant("ants-syn", syn)


def shipped(family: str, dims: int) -> Iterator[Contestant]:
    """Networks of data/weights for these pairs, those that there are."""
    for name in SHIPPED.get((family, dims), ()):
        try:
            yield Contestant(name, load_model(name), budget="shipped")
        except FileNotFoundError:
            print(f"{name}: no such network in data/weights, left out", flush=True)


def refined(one: Contestant, steps: int) -> Contestant:
    """The same with instance optimisation after it."""
    return replace(one, run=Refined(one.run, steps, smoothness=0.1), refined=True)


def compare(scale: Scale, work: Path) -> dict:
    """All rows; those that an earlier run has left in `work` are not measured again."""
    kept = work / "rows.json"
    rows = json_of(kept)["rows"] if kept.exists() else []
    known = {_key(row) for row in rows}
    tests = {family: scale.pairs(family, "test") for family in scale.families}

    def enter(contestant: Contestant, families: dict[str, Pairs]) -> None:
        for family, pairs in families.items():
            if _key({"task": family} | contestant.labels) in known:
                continue
            row = compare_row(contestant, family, pairs)
            rows.append(row)
            write_json_whole(kept, {"rows": rows})
            shown = {key: row[key] for key in ("task", "method", "budget", "seed", "refined", "dice", "epe")}
            print(shown, flush=True)

    # What a comparison needs first comes first: a record of a run that is not finished is of use too.
    scans = hippocampus(scale)
    for contestant in untrained():
        enter(contestant, tests | scans)
    for family, pairs in (tests | scans).items():
        for contestant in shipped(family, len(pairs[0].shape)):
            enter(contestant, {family: pairs})
            enter(refined(contestant, scale.refine), {family: pairs})
    mixed = mixture(scale)
    budgets = steps_of_budgets(scale, mixed, work)
    with kept_in(work / "networks"):
        for contestant in trained(scale, budgets, mixed):
            enter(contestant, tests)
        for name, run in METHODS.items():
            enter(refined(Contestant(name, run), scale.refine), tests)
        for contestant in trained(scale, {"steps": budgets["steps"]}, mixed):
            enter(refined(contestant, scale.refine), tests)
    return {"rows": rows, "steps": budgets}


def hippocampus(scale: Scale) -> dict[str, Pairs]:
    """Real scans, where they are there."""
    if not scale.scans:
        return {}
    try:
        pairs = datasets.load("hippocampus", "test", count=scale.scans)
    except (OSError, ValueError) as missing:
        print(f"hippocampus is left out: {missing}", flush=True)
        return {}
    return {"hippocampus": [pairs[i] for i in range(len(pairs))]}


def _key(row: dict) -> tuple:
    return tuple(row[name] for name in ("task", "method", "seed", "budget", "refined"))


def cost_of(name: str, edges: tuple[int, ...], device: str = "cpu") -> list[dict]:
    """Of one network in volumes: parameters, multiply-adds, time and memory of a pair and of a training step."""
    torch.manual_seed(0)
    model = build(name, dims=3, **MODELS[name]).to(device)
    found = []
    for edge in (16, *edges):  # the first loads libraries and is not counted
        moving, fixed = (torch.rand(2, 1, *[edge] * 3, device=device) for _ in range(2))
        labels = torch.zeros(2, 1, *[edge] * 3, dtype=torch.long, device=device)
        labels[..., : edge // 2] = 1
        known = {"moving_labels": labels, "fixed_labels": labels} if name == "segreg" else {}
        pair = partial(_pair, model, moving[:1], fixed[:1], **{key: value[:1] for key, value in known.items()})
        step = partial(_step, model, moving, fixed, **known)
        row = {"method": name, "edge": edge, "parameters": sum(p.numel() for p in model.parameters())}
        for kind, run in (("pair", pair), ("step", step)):
            row[f"{kind}_bytes"] = peak_bytes(run, device)
            began = time.process_time()
            run()
            row[f"{kind}_seconds"] = time.process_time() - began
        if edge == edges[0]:
            row["multiply_adds"] = multiply_adds(pair)
        found.append(row)
    return found[1:]


def _pair(model, moving, fixed, **labels) -> None:
    with torch.no_grad():
        model.eval()(moving, fixed, **labels)


def _step(model, moving, fixed, **labels) -> None:
    """Forward and backward; both directions are one batch, as in `fit`."""
    model.train().zero_grad()
    result = model(moving, fixed, **labels)
    (result.warped - fixed).square().mean().backward()


def costs(scale: Scale) -> list[dict]:
    """A process of its own for each network."""
    rows = []
    for name in MODELS:
        edges = ",".join(map(str, scale.edges))
        command = [sys.executable, "-m", "tools.compare", "--cost", name, "--edges", edges, "--device", scale.device]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ)
        if done.returncode:
            raise RuntimeError(f"the cost of {name} could not be measured: {done.stderr.strip()[-500:]}")
        rows += json.loads(done.stdout.splitlines()[-1])
    return rows


def seconds_of_all_goes(work: Path, seconds: float) -> float:
    """This one's and those of earlier ones that were broken off, or that a later one went on from."""
    kept = work / "seconds.json"
    total = round(seconds + (json_of(kept)["seconds"] if kept.exists() else 0.0), 1)
    write_json_whole(kept, {"seconds": total})
    return total


def json_of(path: Path) -> Any:
    """What a run has left."""
    return json.loads(path.read_text(encoding="utf-8"))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--work", type=Path, default=WORK, help="what a run that was broken off has left")
    parser.add_argument("--steps", type=int, help="of each training with equal steps, where it is to be another number")
    parser.add_argument("--no-scans", action="store_true", help="phantoms alone")
    parser.add_argument("--beside", action="store_true", help="note that times were taken beside other work")
    parser.add_argument("--so-far", action="store_true", help="write what an unfinished run has left in --work")
    parser.add_argument("--cost", choices=MODELS, help=argparse.SUPPRESS)
    parser.add_argument("--edges", help=argparse.SUPPRESS)
    parser.add_argument("--device", default="cpu", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.cost:
        torch.set_num_threads(1)
        print(json.dumps(cost_of(options.cost, tuple(map(int, options.edges.split(","))), options.device)))
        return
    if options.quick and options.out.resolve() == FOLDER.resolve():
        parser.error("--quick needs --out: its numbers mean nothing and must not replace recorded ones")
    scale = QUICK if options.quick else FULL if options.full else SMALL
    scale = replace(scale, scans=0) if options.no_scans else scale
    scale = replace(scale, steps=options.steps) if options.steps else scale
    options.work.mkdir(parents=True, exist_ok=True)
    if scale.device == "cpu":
        torch.set_num_threads(1)  # processor seconds then are those of one thread
    began = time.perf_counter()
    if options.so_far:
        record = json_of(options.work / "costs.json") | json_of(options.work / "rows.json")
        record |= {"steps": json_of(options.work / "steps.json")}
    else:
        kept = options.work / "costs.json"
        if not kept.exists():
            write_json_whole(kept, {"costs": costs(scale)})
        record = json_of(kept) | compare(scale, options.work)
    record |= {
        "finished": not options.so_far,
        "machine": machine(best_device(scale.device)),
        "seconds": seconds_of_all_goes(options.work, time.perf_counter() - began),
        "beside_other_work": options.beside,
        "date": time.strftime("%Y-%m-%d"),
        "scale": asdict(scale),
        "explained": EXPLAINED,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    print(write_json_whole(options.out / NAME, record))


if __name__ == "__main__":
    main()
