"""Methods that need no training, on pairs that everybody can get: which one should `moereg register` fall back on?

    python -m tools.untrained                       our candidates and SimpleITK's Demons
    python -m tools.untrained --methods SyN SyNCC   those of ANTs, where antspyx is installed (minutes a pair)
    python -m tools.untrained --judge               nothing is run: the sentences anew from the recorded rows

Every method gets the two images as they are, finds its own linear alignment, and is asked for one map. Rows are kept as
they come, so that a run that was broken off goes on, and methods may be added one by one. Seconds are CPU seconds of
one thread, which another process beside it hardly changes; they are compared as ratios.

No method was chosen by these pairs, and no setting of ours: `FIRST` steps over the subjects and the motions that were
looked at while the default was made. Rows of those stand in the record apart, under "tuned on", and nothing is
concluded from them.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from moereg.alignment import align
from moereg.apply.methods import DEFAULT, untrained
from moereg.data import Pair, datasets, templates
from moereg.data.volumes import Grid, Volume
from moereg.demo import machine
from moereg.experiments.untrained import means, untrained_sentences
from moereg.fields import identity_grid
from moereg.files import write_json_whole
from moereg.metrics import dice
from moereg.physical import Displacement, in_voxels, pull, whole_map
from moereg.regularity import fold_fraction

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "data" / "registering" / "untrained.json"
MNI_SHAPE = (48, 56, 48)
PAIRS = {"hippocampus": 8, "mni152": 6}
# The first three hippocampus pairs hold subjects that the default was tuned on; motions of small seeds were seen too.
FIRST = {"hippocampus": 3, "mni152": 100}
CANDIDATES = ("demons-diffeomorphic", "instance", "greedy")
PEERS = ("SimpleITK Demons", "SyN", "SyNCC")
SITK_ITERATIONS = 100

Mapped = tuple[Tensor, Tensor, float]  # map in voxels (3, *S), warped labels (1, *S), folds of the deformation


@cache
def pairs_of(name: str) -> list[Pair]:
    """The pairs of one set, none of them seen before: different subjects, or MNI152 under known motions."""
    which = range(FIRST[name], FIRST[name] + PAIRS[name])
    if name == "hippocampus":
        found = datasets.load(name, "test", count=which.stop)
        return [found[i] for i in which]
    return [templates.mni152(MNI_SHAPE, seed) for seed in which]


def grid_of(pair: Pair) -> Grid:
    """Where a pair lies: its spacing, and tensor axes as a canonical file has them."""
    edges = pair.spacing or (1.0,) * 3
    return Grid(pair.shape, np.diag([*edges[::-1], 1.0]), pair.name)


def linear(pair: Pair) -> np.ndarray:
    """Our own affine alignment."""
    grid = grid_of(pair)
    return align(Volume(pair.moving, grid), Volume(pair.fixed, grid), "affine").matrix


def ours(pair: Pair, *, register: Callable | None) -> Mapped:
    """Affine alignment, then a method of the library on the aligned images; None: the alignment alone."""
    grid, matrix = grid_of(pair), linear(pair)
    still = whole_map(torch.zeros(3, *pair.shape), grid, matrix)
    moved, _ = pull(pair.moving, grid, still, outside=None)
    u = torch.zeros(1, 3, *pair.shape)
    if register is not None:
        u = register(moved.float()[None], pair.fixed[None], None, ()).displacement
    return _mapped(pair, whole_map(u[0], grid, matrix), u)


def sitk_demons(pair: Pair) -> Mapped:
    """The same alignment, then SimpleITK's diffeomorphic Demons."""
    import SimpleITK as sitk

    grid, matrix = grid_of(pair), linear(pair)
    moved, _ = pull(pair.moving, grid, whole_map(torch.zeros(3, *pair.shape), grid, matrix), outside=None)
    images = [sitk.GetImageFromArray(image[0].float().numpy()) for image in (pair.fixed, moved)]
    demons = sitk.DiffeomorphicDemonsRegistrationFilter()
    demons.SetNumberOfIterations(SITK_ITERATIONS)
    demons.SetStandardDeviations(1.0)
    field = sitk.GetArrayFromImage(demons.Execute(*images))  # (*S, xyz), voxels
    u = torch.from_numpy(np.ascontiguousarray(field[..., ::-1].astype(np.float32))).movedim(-1, 0)[None]
    return _mapped(pair, whole_map(u[0], grid, matrix), u)


def ants_syn(pair: Pair, *, kind: str) -> Mapped:
    """antspyx with its own alignment and its own schedule."""
    import ants

    edges = pair.spacing or (1.0,) * 3
    fixed, moving = (ants.from_numpy(image[0].numpy(), spacing=edges) for image in (pair.fixed, pair.moving))
    done = ants.registration(fixed, moving, type_of_transform=kind)
    carry = partial(ants.apply_transforms, fixed, transformlist=done["fwdtransforms"])
    labels = ants.from_numpy(pair.require("moving_labels")[0].numpy().astype(np.float32), spacing=edges)
    moved = torch.from_numpy(carry(moving=labels, interpolator="nearestNeighbor").numpy()).round().long()[None]
    places = [
        carry(moving=ants.from_numpy(axis.numpy(), spacing=edges), interpolator="linear").numpy()
        for axis in identity_grid(pair.shape)
    ]
    vectors = ants.image_read(done["fwdtransforms"][0]).numpy() / np.array(edges)  # (*S, axis) in voxels
    folds = fold_fraction(torch.from_numpy(vectors).movedim(-1, 0)[None].float())
    return torch.from_numpy(np.stack(places)) - identity_grid(pair.shape), moved, float(folds)


def _mapped(pair: Pair, field: Displacement, u: Tensor) -> Mapped:
    labels, _ = pull(pair.require("moving_labels"), field.grid, field, mode="nearest")
    return in_voxels(field).float(), labels.round().long(), float(fold_fraction(u))


METHODS: dict[str, Callable[[Pair], Mapped]] = {
    "affine": partial(ours, register=None),
    **{name: partial(ours, register=untrained(name, "lncc")) for name in CANDIDATES},
    PEERS[0]: sitk_demons,
    **{kind: partial(ants_syn, kind=kind) for kind in PEERS[1:]},
}


def row(set_name: str, index: int, method: str) -> dict:
    """What one method makes of one pair."""
    pair = pairs_of(set_name)[index]
    started = time.process_time()
    field, labels, folds = METHODS[method](pair)
    seconds = time.process_time() - started
    scores = dice(labels, pair.require("fixed_labels"))
    error = None
    if pair.displacement is not None and pair.region is not None:
        error = float((field - pair.displacement).norm(dim=0)[pair.region[0]].mean())
    return {
        "set": set_name, "pair": pair.name, "method": method, "dice": float(np.mean(list(scores.values()))),
        "epe": error, "folds": folds, "seconds": seconds,
    }  # fmt: skip


def run(methods: Sequence[str], sets: Sequence[str], path: Path) -> dict:
    """Every missing row; the record is written after each."""
    record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"rows": []}
    for index in range(max(PAIRS.values())):
        for name in sets:
            for method in methods if index < PAIRS[name] else ():
                key = (name, pairs_of(name)[index].name, method)
                if key not in {(r["set"], r["pair"], r["method"]) for r in record["rows"]}:
                    record["rows"].append(row(name, index, method))
                    print(json.dumps(record["rows"][-1]), flush=True)
                    write_json_whole(path, record)
    return record


def main(arguments: list[str] | None = None) -> None:
    """Run, judge, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    without_ants = [name for name in METHODS if name not in PEERS[1:]]
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=without_ants)
    parser.add_argument("--sets", nargs="+", choices=PAIRS, default=list(PAIRS))
    parser.add_argument("--out", type=Path, default=RECORD)
    parser.add_argument("--judge", action="store_true")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    record = run([] if options.judge else options.methods, options.sets, options.out)
    record["protocol"] = {
        "pairs asked for": PAIRS, "first": FIRST, "mni152": MNI_SHAPE, "SimpleITK Demons": SITK_ITERATIONS,
        "default": DEFAULT, "seconds": "CPU seconds of one thread, linear alignment included",
    }  # fmt: skip
    record["machine"] = machine(torch.device("cpu"))
    record["means"] = means(record["rows"])
    record["sentences"] = untrained_sentences(record["rows"], DEFAULT)
    write_json_whole(options.out, record)
    print("\n".join(record["sentences"]))


if __name__ == "__main__":
    main()
