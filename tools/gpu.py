"""`make gpu`: everything that only a GPU can show, in pieces that each know when to stop.

    python -m tools.gpu                       the pieces that are not finished, for `--seconds` at most (540)
    python -m tools.gpu sizes compile         some
    python -m tools.gpu --quick --out FOLDER  every piece in miniature, on whatever there is, in seconds

    equal      results and gradients of every network against the CPU's in float64
    bf16       the same training in float32 and under bf16 autocast
    compile    one training step as it is and through torch.compile: difference, seconds
    sizes      seconds and peak memory of a training step, up to 192 x 160 x 256
    full       SHMoAReg with a field at every voxel, long; goes on where the last call stopped

Each writes data/gpu/PIECE.json with machine, commit and rows. A piece that is finished is not done again: delete its
file. Chapters under their full budget: `MOEREG_BUDGET=full python tools/notebooks.py --receipt NN_stem`.
"""

import argparse
import copy
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from moereg.data import datasets, phantoms
from moereg.data.pairs import Pair
from moereg.demo import machine
from moereg.files import write_json_whole
from moereg.metrics import evaluate
from moereg.models import MODELS, build, build_for
from moereg.models.registration import labels_for
from moereg.training import TrainingConfig, best_device, fit
from moereg.training.loss import Batch, collate, registration_loss
from tools.weights import RECIPES, revision

ROOT = Path(__file__).resolve().parent.parent
FOLDER, WORK = ROOT / "data" / "gpu", ROOT / ".gpu"
NETWORKS = tuple(name for name in MODELS if name != "segreg")  # SegReg is one of these, region by region
VOLUMES = ((64, 64, 64), (96, 96, 96), (128, 128, 128), (160, 160, 160), (192, 160, 256))
SMALL = ((16, 16, 16),)


class Later(Exception):
    """Time is over; what is done so far is kept, and the next call goes on."""


@dataclass(frozen=True)
class Bench:
    """Where a piece computes and how much it may take."""

    device: torch.device
    work: Path  # checkpoints
    deadline: float = float("inf")  # of time.monotonic
    quick: bool = False

    @property
    def cuda(self) -> bool:
        """Whether there is memory to measure and a queue to wait for."""
        return self.device.type == "cuda"

    def pair(self, shape: Sequence[int], seed: int = 0) -> Pair:
        """One phantom pair with labels."""
        return phantoms.make("abdomen", tuple(shape), seed)

    def step(self, model: nn.Module, batch: Batch, config: TrainingConfig) -> torch.Tensor:
        """Forward and backward pass of one training step; the loss."""
        result = model(batch.moving, batch.fixed, **labels_for(model, batch.moving_labels, batch.fixed_labels))
        loss, _ = registration_loss(result, batch, config)
        loss.backward()
        return loss.detach()

    def seconds(self, work: Callable[[], object], repeats: int = 5) -> float:
        """Median over repeats, after one run that is not counted."""
        times = []
        for _ in range(1 + (1 if self.quick else repeats)):
            self.wait()
            began = time.perf_counter()
            work()
            self.wait()
            times.append(time.perf_counter() - began)
        return sorted(times[1:])[len(times[1:]) // 2]

    def wait(self) -> None:
        """Until everything that was asked of the GPU is done."""
        if self.cuda:
            torch.cuda.synchronize(self.device)


def equal(bench: Bench) -> list[dict]:
    """Largest differences from float64 on the CPU, of this device and, for comparison, of the CPU in float32."""
    pair, rows = bench.pair(SMALL[0] if bench.quick else (48, 48, 48)), []
    for name in NETWORKS:
        torch.manual_seed(0)
        model = build_for(name, [pair])
        reference = _values(copy.deepcopy(model).double(), pair, torch.device("cpu"), torch.float64)
        for place in dict.fromkeys((torch.device("cpu"), bench.device)):
            found = _values(copy.deepcopy(model).to(place), pair, place, torch.float32)
            off = {key: float((found[key] - reference[key]).abs().max()) for key in reference}
            # where a router is all but undecided, rounding sends a voxel to another expert
            far = ((found["displacement"] - reference["displacement"]).abs() > 1e-3).double().mean()
            scale = {f"largest {key}": float(value.abs().max()) for key, value in reference.items()}
            rows.append({"model": name, "device": place.type, **off, "share beyond 1e-3": float(far), **scale})
    return rows


def _values(model: nn.Module, pair: Pair, place: torch.device, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    images = [image[None].to(place, dtype) for image in (pair.moving, pair.fixed)]
    displacement = model.eval()(*images).displacement
    displacement.square().mean().backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    return {"displacement": displacement.detach().cpu().double(), "gradient": gradient.cpu().double()}


def bf16(bench: Bench) -> list[dict]:
    """The same training in both precisions, three seeds: Dice, endpoint error and seconds per step."""
    shape, steps = (SMALL[0], 2) if bench.quick else ((48, 48, 48), 1000)
    train, test = ([bench.pair(shape, first + i) for i in range(2 if bench.quick else 20)] for first in (0, 9000))
    rows = []
    for precision in ("32-true", "bf16-mixed"):
        for seed in range(1 if bench.quick else 3):
            torch.manual_seed(seed)
            model = build_for("shmoareg", train)
            config = TrainingConfig(steps=steps, seed=seed, precision=precision, device=bench.device.type)
            history = fit(model, train, config, progress=False)
            measured = evaluate({"": model.eval()}, test, device=bench.device, surfaces=False)[""]
            row = {"precision": precision, "seed": seed, "seconds per step": history.seconds / steps}
            rows.append(row | {key: measured[key] for key in ("dice", "epe", "fold_fraction")})
    return rows


def compiled(bench: Bench) -> list[dict]:
    """One training step of each network as it is and through torch.compile."""
    config, rows = TrainingConfig(device=bench.device.type), []
    pair = bench.pair(SMALL[0] if bench.quick else (96, 96, 96))
    batch = collate([pair], bench.device)
    for name in ("shmoareg",) if bench.quick else NETWORKS:
        torch.manual_seed(0)
        model = build_for(name, [pair]).to(bench.device)
        faster = torch.compile(model, backend="eager" if bench.quick else "inductor")
        with torch.no_grad():
            plain, other = (net(batch.moving, batch.fixed).displacement for net in (model, faster))
        times = [bench.seconds(lambda net=net: bench.step(net, batch, config)) for net in (model, faster)]
        difference = float((plain - other).abs().max())
        rows.append({"model": name, "difference": difference, "seconds": times[0], "seconds compiled": times[1]})
    return rows


def sizes(bench: Bench) -> list[dict]:
    """A training step of ever larger volumes; None where the memory does not suffice."""
    variants = {
        "SHMoAReg, every second voxel": ("shmoareg", {}),
        "SHMoAReg, every voxel": ("shmoareg", {"stem_stride": 1}),
        "VoxelMorph (MONAI), every voxel": ("voxelmorph", {}),
    }
    config, rows = TrainingConfig(device=bench.device.type), []
    for title, (name, options) in variants.items():
        for shape in SMALL if bench.quick else VOLUMES:
            rows.append({"model": title, "shape": list(shape)} | _cost(bench, name, options, shape, config))
    return rows


def _cost(bench: Bench, name: str, options: dict, shape: Sequence[int], config: TrainingConfig) -> dict:
    if bench.cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(bench.device)
    try:
        model = build(name, dims=3, **options).to(bench.device)
        batch = collate([bench.pair(shape)], bench.device)
        seconds = bench.seconds(lambda: bench.step(model, batch, config), repeats=3)
    except torch.OutOfMemoryError:
        return {"seconds": None, "peak GiB": None}
    peak = torch.cuda.max_memory_allocated(bench.device) / 2**30 if bench.cuda else None
    return {"seconds": seconds, "peak GiB": peak}


def full(bench: Bench) -> list[dict]:
    """The abdomen recipe with a field at every voxel, 96^3, five times the steps."""
    recipe = replace(RECIPES["abdomen"], shape=SMALL[0] if bench.quick else (96, 96, 96), train_pairs=300)
    config = replace(recipe.training, device=bench.device.type, checkpoint_every=2 if bench.quick else 100)
    config = replace(config, steps=4 if bench.quick else 5 * config.steps)
    train = datasets.load(recipe.data, "train", shape=recipe.shape, count=2 if bench.quick else recipe.train_pairs)
    torch.manual_seed(config.seed)
    model = build_for(recipe.model, train, **recipe.sizes | {"stem_stride": 1})

    def stop_in_time(step: int, network: nn.Module) -> None:
        # A checkpoint is written after this returns: only what is in it counts, so stop right behind one.
        if step % config.checkpoint_every == 1 and time.monotonic() > bench.deadline:
            raise Later(f"step {step - 1} of {config.steps}")

    history = fit(model, train, config, out=bench.work / "full", resume=True, on_step=stop_in_time)
    test = datasets.load(recipe.data, "test", shape=recipe.shape, count=2 if bench.quick else None)
    measured = evaluate({"every voxel": model.eval()}, test, device=bench.device, surfaces=False)["every voxel"]
    return [{"steps": config.steps, "seconds": history.seconds} | {k: v for k, v in measured.items() if k != "pairs"}]


PIECES: dict[str, Callable[[Bench], list[dict]]] = {
    "equal": equal,
    "sizes": sizes,
    "compile": compiled,
    "bf16": bf16,
    "full": full,
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*PIECES, []], help="default: all that are not finished")
    parser.add_argument("--seconds", type=float, default=540, help="no piece is begun, or goes on, after this time")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--work", type=Path, default=WORK, help="checkpoints of what goes on")
    options = parser.parse_args(arguments)
    if options.quick and options.out.resolve() == FOLDER.resolve():
        parser.error("--quick needs --out: its numbers mean nothing and must not replace recorded ones")
    device = best_device()
    if device.type != "cuda" and not options.quick:
        parser.error("there is no CUDA device here; --quick --out FOLDER rehearses on the CPU")
    bench = Bench(device, options.work, time.monotonic() + options.seconds, options.quick)
    left = [name for name in options.names or PIECES if not (options.out / f"{name}.json").exists()]
    for name in left:
        if time.monotonic() > bench.deadline:
            break
        try:
            rows = PIECES[name](bench)
        except Later as so_far:
            print(f"{name}: {so_far}, goes on at the next call", flush=True)
            continue
        record = {"piece": name, "machine": machine(device), "code": revision(), "rows": rows}
        print(json.dumps(record), flush=True)
        write_json_whole(options.out / f"{name}.json", record)
    left = [name for name in left if not (options.out / f"{name}.json").exists()]
    print(f"not finished: {', '.join(left)}" if left else "all finished", flush=True)
    return 1 if left else 0


if __name__ == "__main__":
    raise SystemExit(main())
