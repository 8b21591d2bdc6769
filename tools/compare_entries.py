"""The rows of `make compare`: what is compared, on what, and how processes share the work.

An `Entry` names one contestant, plain or refined, on some families; any process makes its rows from the name alone.
Networks are trained when their entry is measured and kept on disk, where the entry of the refined one finds them.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from moereg.classical import METHODS
from moereg.classical.itk import ITK_METHODS
from moereg.data import Pairs, datasets, phantoms
from moereg.experiments import Protocol, Task, kept_in, train_one
from moereg.experiments.comparing import (
    Contestant,
    compare_row,
    processor_seconds_per_step,
    steps_of_equal_seconds,
)
from moereg.files import write_json_whole
from moereg.models import build, load_model
from moereg.models.segmentation import SMALL_BACKBONE
from moereg.models.storage import find_weights
from moereg.training import Refined, TrainingConfig
from tools.syn import syn, there

REFERENCE = "shmoareg"
SCANS = "hippocampus"
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
    (SCANS, 3): (
        "hippocampus", "hippocampus-images", "hippocampus-drivenmorph", "hippocampus-rman", "hippocampus-voxelmorph",
    ),
}  # fmt: skip
SHIPPED_NAMES = [name for names in SHIPPED.values() for name in names]


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
        if family == SCANS:
            pairs = datasets.load(SCANS, split, count=self.scans)
            return [pairs[i] for i in range(len(pairs))]
        count, first = (self.train, 0) if split == "train" else (self.test, 9000)
        return [phantoms.make(family, self.shape, first + number) for number in range(count)]

    def mixture(self) -> Pairs:
        """Training pairs of all families of phantoms, in turn."""
        families = [self.pairs(family, "train") for family in self.families]
        return [pair for group in zip(*families, strict=True) for pair in group]


@dataclass(frozen=True)
class Entry:
    """One contestant on some families, by names alone; `seed` and `steps` are of its training, if it has one."""

    name: str
    families: tuple[str, ...]
    seed: int | None = None
    budget: str | None = None
    refined: bool = False
    steps: int = 0

    def keys(self) -> list[tuple]:
        """What its rows are known by."""
        return [(family, self.name, self.seed, self.budget, self.refined) for family in self.families]


def key_of(row: dict) -> tuple:
    """Of `Entry.keys`."""
    return tuple(row[name] for name in ("task", "method", "seed", "budget", "refined"))


def entries(scale: Scale, budgets: dict[str, dict[str, int]]) -> tuple[list[Entry], list[Entry]]:
    """All that is compared: what is trained, with the longest trainings first, and what finds it trained."""
    families = scale.families
    plain = [
        Entry(name, families, seed, budget, steps=counts[name])
        for budget, counts in budgets.items()
        for seed in scale.seeds
        for name in MODELS
    ]
    plain.sort(key=lambda entry: -entry.steps / budgets["seconds"][entry.name])
    # Budgets of as many steps share a training: it must not be done in two processes at once.
    first: dict[tuple, Entry] = {}
    for entry in plain:
        first.setdefault((entry.name, entry.seed, entry.steps), entry)
    late = [entry for entry in plain if entry not in first.values()]
    late += [replace(entry, refined=True) for entry in plain if entry.budget == "steps"]
    without = [*METHODS, *ITK_METHODS, *(["ants-syn"] if there() else [])]
    there_are = (*families, *scans_there(scale))
    late += [Entry(name, there_are) for name in without]
    late += [Entry(name, families, refined=True) for name in METHODS]
    for family in there_are:
        names = [name for name in SHIPPED.get((family, 3 if family == SCANS else len(scale.shape)), ()) if has(name)]
        late += [
            Entry(name, (family,), budget="shipped", refined=refined) for name in names for refined in (False, True)
        ]
    return list(first.values()), late


def has(name: str) -> bool:
    """Whether `data/weights` holds this network; said where it does not."""
    try:
        find_weights(name)
    except FileNotFoundError:
        print(f"{name}: no such network in data/weights, left out", flush=True)
        return False
    return True


def scans_there(scale: Scale) -> tuple[str, ...]:
    """The real scans, where they are wanted and are there."""
    if not scale.scans:
        return ()
    try:
        datasets.load(SCANS, "test", count=1)
    except (OSError, ValueError) as missing:
        print(f"{SCANS} is left out: {missing}", flush=True)
        return ()
    return (SCANS,)


def contestant(entry: Entry, scale: Scale, folder: Path) -> Contestant:
    """What an entry names; its network comes from the folder, where it may have to be trained first."""
    if entry.budget == "shipped":
        run: Any = load_model(entry.name)
    elif entry.budget is not None:
        task = Task("all families", mixed(scale), mixed(scale))
        config = replace(scale.training, steps=entry.steps)
        protocol = Protocol(config, seeds=scale.seeds, model=entry.name, sizes=MODELS[entry.name])
        with kept_in(folder):
            run = train_one(task, protocol, entry.seed or 0).eval()
    else:
        run = syn if entry.name == "ants-syn" else (METHODS | ITK_METHODS)[entry.name]
    if entry.refined:
        run = Refined(run, scale.refine, smoothness=0.1)
    return Contestant(entry.name, run, entry.seed, entry.budget, entry.refined)


@cache
def mixed(scale: Scale) -> Pairs:
    """Once in each process."""
    return scale.mixture()


@cache
def tests_of(scale: Scale, family: str) -> Pairs:
    """Once in each process."""
    return scale.pairs(family, "test")


def rows_of(entry: Entry, scale: Scale, folder: Path) -> list[dict]:
    """Measure one entry."""
    one = contestant(entry, scale, folder)
    return [compare_row(one, family, tests_of(scale, family)) for family in entry.families]


def steps_of_budgets(scale: Scale, work: Path) -> dict[str, dict[str, int]]:
    """Budget -> network -> steps. Measured once: a run that goes on goes on with the same."""
    kept = work / "steps.json"
    if not kept.exists():
        each = {}
        for name, sizes in MODELS.items():
            torch.manual_seed(0)
            model = build(name, dims=len(scale.shape), **sizes)
            each[name] = processor_seconds_per_step(model, mixed(scale), scale.training)
        equal = steps_of_equal_seconds(each, REFERENCE, scale.steps)
        write_json_whole(kept, {"steps": dict.fromkeys(MODELS, scale.steps), "seconds": equal})
    return json.loads(kept.read_text(encoding="utf-8"))


def all_rows(scale: Scale, work: Path, workers: int = 1) -> dict:
    """Under "rows" and "steps"; rows that an earlier run has left in `work` are not measured again."""
    budgets = steps_of_budgets(scale, work)
    kept = work / "rows.json"
    rows = json.loads(kept.read_text(encoding="utf-8"))["rows"] if kept.exists() else []
    known = {key_of(row) for row in rows}
    groups = entries(scale, budgets)
    for group in groups:
        asked = [entry for entry in group if not known.issuperset(entry.keys())]
        for found in in_processes(asked, scale, work / "networks", workers):
            rows += [row for row in found if key_of(row) not in known]
            write_json_whole(kept, {"rows": rows})
            for row in found:
                shown = {key: row[key] for key in ("task", "method", "budget", "seed", "refined", "dice", "epe")}
                print(shown, flush=True)
    rows.sort(key=place_of)  # processes end in any order, and a record has one
    return {"rows": rows, "steps": budgets}


def place_of(row: dict) -> tuple:
    """Where a row stands in the record: what is not trained, what ships, what is trained here, and the same refined."""
    budget = (None, "shipped", "steps", "seconds").index(row["budget"])
    names = [*METHODS, *ITK_METHODS, "ants-syn", *SHIPPED_NAMES, *MODELS]
    late = row["refined"] and row["budget"] != "shipped"
    return late, budget, names.index(row["method"]), row["refined"], row["seed"] or 0


def in_processes(asked: list[Entry], scale: Scale, folder: Path, workers: int) -> Iterator[list[dict]]:
    """The rows of each entry as they come; one worker is this process itself."""
    if workers == 1:
        yield from (rows_of(entry, scale, folder) for entry in asked)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=one_thread) as pool:
        waiting = [pool.submit(rows_of, entry, scale, folder) for entry in asked]
        try:
            for done in as_completed(waiting):
                yield done.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def one_thread() -> None:
    """Processor seconds then are those of one thread, and processes do not wait for each other's."""
    torch.set_num_threads(1)
