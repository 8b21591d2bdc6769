"""`make experiments`: the trained experiments of the audit, written to data/experiments/*.json.

    python tools/experiments.py ablation axis stability     some of them; all without a name

Two-dimensional but for `kinds` and the two audits of the demo, so that fifty networks train on a laptop. Every file
holds the protocol, the machine, all rows, and the sentence that is computed from them; the notebooks show these files.
"""

import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch

from moereg.data import datasets, phantoms
from moereg.data.phantoms import Motion, lung
from moereg.demo import machine, plan_for, write_json
from moereg.evaluation.experiments import Protocol, Task, ablation, axis_test, train_one
from moereg.evaluation.recursion import RecursionProtocol, recursion_sweep
from moereg.evaluation.regions import RegionProtocol, quality_sweep, sliding, true_labels
from moereg.evaluation.specialisation import Finding, audit, seed_stability
from moereg.evaluation.versus import contest, versus
from moereg.models import build
from moereg.models.segmentation import SMALL_BACKBONE
from moereg.training import TrainingConfig, fit

FOLDER = Path(__file__).resolve().parent.parent / "data" / "experiments"
SHAPE = (64, 64)
PROTOCOL = Protocol(TrainingConfig(steps=200, pairs_per_step=2, device="cpu"), seeds=(0, 1, 2))
BREATHING = Motion()
# As far apart as a 64-voxel grid allows: head to foot wide and smooth, left to right small and fine.
SCALES = Motion(amplitude=(0.18, 0.09, 0.06), length=(0.5, 0.16, 0.09), drift=(0.5, 0.0, 0.0))

LARGE = Motion(amplitude=(0.35, 0.2, 0.2), length=(0.4, 0.25, 0.25))  # up to 20 voxels of 64
RECURSION = RecursionProtocol(
    TrainingConfig(steps=150, pairs_per_step=2, learning_rate=3e-3, similarity="mse", smoothness=0.003, device="cpu")
)
REGIONS = RegionProtocol(
    TrainingConfig(steps=200, learning_rate=2e-3, similarity="mse", smoothness=0.03, device="cpu"), sizes=SMALL_BACKBONE
)
SLIDING = RegionProtocol(
    TrainingConfig(steps=120, pairs_per_step=2, learning_rate=2e-3, similarity="mse", device="cpu"),
    sizes=SMALL_BACKBONE,
    groups=(lung.SLIDING,),  # what the pleura holds; everything else is the second region
    smoothness=(0.01, 0.03, 0.1, 0.3),
)


# The cortex of a brain is a voxel or two thick on these grids: DrivenMorph predicts a field at every voxel.
FLAT = replace(PROTOCOL, sizes={"drivenmorph": {"stem_stride": 1}})
VOLUMES = replace(FLAT, training=TrainingConfig(steps=100, device="cpu"), seeds=(0,))
SCANS = Protocol(replace(plan_for("hippocampus", "cpu").training, steps=400, learning_rate=2e-3), seeds=(0,))


def task_of(name: str, motion: Motion) -> Task:
    """48 training and 12 test pairs of abdominal phantoms under one motion."""
    train, test = (
        [phantoms.make("abdomen", SHAPE, seed, motion=motion) for seed in seeds]
        for seeds in (range(48), range(9000, 9012))
    )
    return Task(name, train, test)


def run_ablation() -> Finding:
    return ablation([task_of("breathing", BREATHING), task_of("scales far apart", SCALES)], PROTOCOL)


def run_kinds() -> Finding:
    """The three kinds of expert, flat and in volumes; the volumes are small, because full kernels are slow there."""
    volumes = Task(
        "breathing, 32^3",
        [phantoms.make("abdomen", (32, 32, 32), seed, motion=BREATHING) for seed in range(24)],
        [phantoms.make("abdomen", (32, 32, 32), seed, motion=BREATHING) for seed in range(9000, 9012)],
    )
    variants = {kind: {"expert_kind": kind} for kind in ("nested", "full", "separable")}
    return ablation([task_of("breathing, 64^2", BREATHING), volumes], PROTOCOL, variants=variants)


def run_flat_contest() -> Finding:
    """DrivenMorph, VoxelMorph and classical Demons on two kinds of anatomy in two dimensions."""
    rows = []
    for anatomy in ("abdomen", "brain"):
        rows += versus(phantom_task(anatomy, SHAPE, 48), FLAT, ("drivenmorph", "voxelmorph"))
    return contest(rows, "drivenmorph", ["voxelmorph"])


def run_volume_contest() -> Finding:
    """The same in volumes, each trained once."""
    rows = []
    for anatomy in ("abdomen", "brain"):
        rows += versus(phantom_task(anatomy, (32, 32, 32), 24), VOLUMES, ("drivenmorph", "voxelmorph"))
    return contest(rows, "drivenmorph", ["voxelmorph"])


def run_hippocampus_contest() -> Finding:
    """The same on real scans. Both networks learn from the labels of the training subjects, classical Demons cannot."""
    plan = plan_for("hippocampus", "cpu")
    train, test = (
        datasets.load("hippocampus", split, shape=plan.shape, count=count)
        for split, count in (("train", plan.train_pairs), ("test", plan.test_pairs))
    )
    task = Task("hippocampus", train, [test[i] for i in range(len(test))])
    return contest(versus(task, SCANS, ("drivenmorph", "voxelmorph")), "drivenmorph", ["voxelmorph"])


def phantom_task(anatomy: str, shape: tuple[int, ...], count: int) -> Task:
    """`count` training and 12 test pairs of one kind of phantom."""
    train, test = (
        [phantoms.make(anatomy, shape, seed) for seed in seeds] for seeds in (range(count), range(9000, 9012))
    )
    return Task(f"{anatomy}, {shape[0]}^{len(shape)}", train, test)


def run_axis() -> Finding:
    order = (2, 1, 0)  # of z, y, x; in 2-D this exchanges the two axes
    original, permuted = task_of("original", SCALES), task_of("permuted", SCALES.permuted(order))
    return axis_test(original, permuted, PROTOCOL, order=(1, 0))


def run_stability() -> Finding:
    task = task_of("breathing", BREATHING)
    return seed_stability([train_one(task, PROTOCOL, seed) for seed in PROTOCOL.seeds], task.test)


def run_rman() -> list[Finding]:
    def say(rows: list[dict]) -> None:
        found = {key: rows[0][key] for key in ("attention", "trained", "seed")}
        print(f"{found} Dice {[round(row['dice'], 3) for row in rows]}", flush=True)

    return [recursion_sweep(task_of("large motion", LARGE), RECURSION, on_rows=say)]


def run_segreg() -> list[Finding]:
    def say(rows: list[dict]) -> None:
        for row in rows:
            print({key: value if isinstance(value, str) else round(value, 3) for key, value in row.items()}, flush=True)

    breathing = task_of("breathing", BREATHING)
    labels, trained = true_labels(breathing, REGIONS, on_rows=say)
    quality = quality_sweep(trained, breathing.test, seeds=REGIONS.seeds)
    train, test = ([phantoms.make("lung", SHAPE, s) for s in seeds] for seeds in (range(24), range(9000, 9012)))
    return [labels, quality, sliding(Task("lung", train, test), SLIDING, on_rows=say)]


def audit_demo(data: str) -> list[Finding]:
    """Train as the demo does, audit on its test pairs."""
    plan = plan_for(data, "cpu")
    train, test = (
        datasets.load(data, split, shape=plan.shape, count=count)
        for split, count in (("train", plan.train_pairs), ("test", plan.test_pairs))
    )
    torch.manual_seed(0)
    model = build("shmoareg", **plan.sizes)
    fit(model, train, plan.training)
    return audit(model, [test[i] for i in range(len(test))])


EXPERIMENTS = {
    "ablation": run_ablation,
    "axis": run_axis,
    "contest": run_flat_contest,
    "contest_volumes": run_volume_contest,
    "contest_hippocampus": run_hippocampus_contest,
    "stability": run_stability,
    "kinds": run_kinds,
    "abdomen": lambda: audit_demo("abdomen"),
    "hippocampus": lambda: audit_demo("hippocampus"),
    "rman": run_rman,
    "segreg": run_segreg,
}
# One per finding, where it is not PROTOCOL
PROTOCOLS = {
    "contest": (FLAT,),
    "contest_volumes": (VOLUMES,),
    "contest_hippocampus": (SCANS,),
    "rman": (RECURSION,),
    "segreg": (REGIONS, REGIONS, SLIDING),
}


def main(names: list[str]) -> None:
    for name in names or EXPERIMENTS:
        began = time.perf_counter()
        found = EXPERIMENTS[name]()
        record = {"machine": machine(torch.device("cpu")), "seconds": round(time.perf_counter() - began, 1)}
        if isinstance(found, list):
            record["findings"] = [asdict(finding) for finding in found]
            if name in PROTOCOLS:
                record |= {"shape": SHAPE, "protocols": [asdict(p) for p in PROTOCOLS[name]]}
        else:
            (protocol,) = PROTOCOLS.get(name, (PROTOCOL,))
            record |= asdict(found) | {"protocol": asdict(protocol)}
            record |= {"shape": SHAPE} if protocol is PROTOCOL else {}
        write_json(FOLDER / f"{name}.json", record)
        for finding in found if isinstance(found, list) else [found]:
            print(f"{name}, {record['seconds']:.0f} s: {finding.sentence}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
