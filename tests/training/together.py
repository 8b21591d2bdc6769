"""What several processes do together: `torchrun ... together.py OUT` in each of them, `python together.py OUT` alone.

A script, because torchrun starts processes. Everything that is compared goes into OUT/COUNT.json, where COUNT is the
number of processes. One has twice the pairs in a pass that each of two has.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

from moereg.data import Augmentation, phantoms
from moereg.metrics import evaluate
from moereg.models import build
from moereg.processes import joined, this_process
from moereg.training import TrainingConfig, fit

SMALL = {"widths": (4, 6), "decoder_widths": (6, 6), "moa_levels": (1,), "heads": 2}
BASE = TrainingConfig(steps=4, device="cpu", information=0.1, learning_rate=5e-3, checkpoint_every=2)
CASES = {
    "float32": {},
    "float64": {"precision": "64-true"},
    "augmented": {"precision": "64-true", "augmentation": Augmentation(turn=5, shift=1, gamma=0.2)},
    "accumulated": {"precision": "64-true", "balance": 0.0, "information": 0.0, "accumulate": 2},
    "averaged": {"precision": "64-true", "average": 0.9},
}


class Stopped(Exception):
    pass


def small(seed=0):
    torch.manual_seed(seed)
    return build("shmoareg", dims=2, **SMALL)


def numbers(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).tolist()


def stop(step, model):
    raise Stopped


def main(out):
    own = this_process()
    pairs = [phantoms.make("abdomen", (24, 24), seed) for seed in range(5)]
    base = replace(BASE, pairs_per_step=2 // own.count)
    found = {}
    for name, options in CASES.items():
        config = replace(base, **options)
        model, folder = small(), out / f"{name}-{own.count}"
        history = fit(model, pairs, config, out=folder, progress=False)
        found[name] = {"loss": history.loss, "dice": history.dice, "weights": numbers(model)}
    # Goes on from its checkpoint, whose last step is undone by training to the third one first.
    folder = out / f"cut-{own.count}"
    config = replace(base, precision="64-true", schedule="constant", warmup=1)
    whole, cut = small(), small(seed=3)
    fit(whole, pairs, config, progress=False)
    fit(small(), pairs, replace(config, steps=2), out=folder, progress=False)
    history = fit(cut, pairs, config, out=folder, resume=True, progress=False)
    found["resumed"] = {"equal": numbers(cut) == numbers(whole), "lengthened": history.lengthened}
    with joined():
        table = evaluate({"network": whole.float()}, pairs, own=own)["network"]
    found["table"] = {key: value for key, value in table.items() if key != "seconds_per_pair"}
    for pair in found["table"]["pairs"]:
        del pair["seconds"]
    found["files"] = sorted(path.name for path in out.rglob("*") if path.is_file()) if own.first else None
    (out / f"{own.count}-{own.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
