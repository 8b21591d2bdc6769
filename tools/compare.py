"""`make compare`: all methods, the same pairs, every measure, equal steps and equal seconds, into data/compare/.

    python -m tools.compare                   phantoms of four families, flat, and hippocampus where it is there
    python -m tools.compare --full            volumes of 96^3, more steps, more pairs: for a GPU
    python -m tools.compare --quick --out F   everything in miniature, in a minute; its numbers mean nothing

One network of each kind is trained per seed, on pairs of all families together. Rule of stopping: a fixed number of
steps (budget "steps"), or the processor time that SHMoAReg takes for as many (budget "seconds"). What was broken off
goes on from `--work`. Classical methods run with the schedules of `moereg.classical`; ANTs' SyN runs where antspyx is
installed (extra `compare`). Every core gets a process of one thread; on a GPU there is one. `--so-far` writes a run
that is not done.
"""

import argparse
import json
import os
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from moereg.demo import machine
from moereg.files import write_json_whole
from moereg.training import best_device
from tools.compare_costs import costs
from tools.compare_entries import Scale, all_rows

ROOT = Path(__file__).resolve().parent.parent
FOLDER, WORK, NAME = ROOT / "data" / "compare", ROOT / ".compare", "compare.json"
EXPLAINED = {
    "segreg": "is handed the true labels of both images, which no other method sees",
    "shipped": "networks of data/weights, trained for far longer than those of equal budgets",
}
SMALL = Scale((64, 64), 50, 4, 300, (0, 1, 2), 20, (32, 48, 64), scans=4)
QUICK = Scale((24, 24), 2, 2, 2, (0, 1), 2, (16, 24), families=("abdomen", "brain"), scans=0)
FULL = Scale((96, 96, 96), 100, 20, 4000, (0, 1, 2), 50, (64, 96, 128, 160), scans=40, device="cuda")


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def seconds_of_all_goes(work: Path, seconds: float) -> float:
    """This one's and those of earlier ones that were broken off, or that a later one went on from."""
    kept = work / "seconds.json"
    total = round(seconds + (json_of(kept)["seconds"] if kept.exists() else 0.0), 4)
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
    parser.add_argument("--workers", type=int, help="processes side by side; default: one for each core, on a GPU one")
    options = parser.parse_args(arguments)
    if options.quick and options.out.resolve() == FOLDER.resolve():
        parser.error("--quick needs --out: its numbers mean nothing and must not replace recorded ones")
    scale = QUICK if options.quick else FULL if options.full else SMALL
    scale = replace(scale, scans=0) if options.no_scans else scale
    scale = replace(scale, steps=options.steps) if options.steps else scale
    workers = options.workers or (cores() if scale.device == "cpu" else 1)
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
            write_json_whole(kept, costs(scale.edges, scale.device, workers))
        record = json_of(kept) | all_rows(scale, options.work, workers)
    record |= {
        "finished": not options.so_far,
        "machine": machine(best_device(scale.device)),
        "workers": workers,
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
