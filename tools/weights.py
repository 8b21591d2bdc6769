"""`make weights`: the networks that come with the library, trained, measured and written to data/weights/.

    python -m tools.weights                          all of them, one after another
    python -m tools.weights hippocampus abdomen      some
    python -m tools.weights --measure hippocampus    nothing is trained: its card anew
    python -m tools.weights --tell hippocampus       the same tensors, their file told what its card knows
    python -m tools.weights --quick --out FOLDER     every network in miniature, in a minute

Each is a file of weights and a card beside it: what it was trained on and how, where, how long, and every figure on the
pairs of the test split; README.md there is written from all cards. A training that was broken off goes on from its
checkpoint in `--work`.
"""

import argparse
import hashlib
import json
import subprocess
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from moereg.classical import METHODS
from moereg.data import Augmentation, Pairs, datasets
from moereg.data.datasets import licence_of
from moereg.data.phantoms import Motion
from moereg.demo import machine
from moereg.files import write_json_whole
from moereg.metrics import evaluate
from moereg.models import WEIGHTS_FOLDER, TrainedOn, build_for, load_model, look_at, save_weights
from moereg.models.storage import PROVENANCE, read_tensors, write_tensors
from moereg.models.trained import KEY, as_entry
from moereg.training import Refined, TrainingConfig, best_device, fit, prepare
from moereg.training.checkpoint import as_json, identity_of
from moereg.training.provenance import scans_of
from tools.cards import refined_name, write_page

ROOT = Path(__file__).resolve().parent.parent
HALF_COSTS_AT_MOST = 0.001  # of mean Dice
LOOKS, WATCHED = 20, 8  # how often a training is measured, on how many pairs of the validation split


@dataclass(frozen=True)
class Recipe:
    """How one network is made."""

    title: str
    model: str
    data: str
    training: TrainingConfig
    shape: tuple[int, ...] | None = None  # None: the data's own
    train_pairs: int | None = None
    motion: Motion | None = None  # of phantoms, where it is not the usual one
    sizes: dict = field(default_factory=dict)
    beside: tuple[str, ...] = ("identity", "demons-symmetric")  # methods measured on the same pairs
    refined: int = 50  # steps of instance optimisation with which the network is measured once more

    def pairs(self, split: str, *, quick: bool = False) -> Pairs:
        """Pairs of one split; two small ones where everything is in miniature."""
        shape = self.shape and tuple(min(size, 24 if len(self.shape) == 2 else 16) for size in self.shape)
        count = {"count": self.train_pairs} if split == "train" else {}
        sizes = {"shape": shape, "count": 2} if quick else {"shape": self.shape, **count}
        pairs = datasets.load(self.data, split, **sizes)
        return pairs if self.motion is None else replace(pairs, options={"motion": self.motion})


# Two scans of different people: each image is turned, resized, bent and recoloured by itself.
SCANS = Augmentation(turn=4, scale=0.04, shift=1, bend=0.7, bend_sigma=6, gamma=0.15, gain=0.05, noise=0.02)
# The information loss in place of balance: routers that decide, at the same accuracy.
DECIDED = {"balance": 0.0, "information": 0.1}
WITH_LABELS = TrainingConfig(
    steps=10_000, similarity="mse", labels=1.0, smoothness=0.3, augmentation=SCANS, checkpoint_every=250, **DECIDED
)
WITHOUT_LABELS = replace(WITH_LABELS, steps=5000, similarity="lncc", labels=0.0, smoothness=0.1, folds=10.0)
PHANTOMS = TrainingConfig(
    steps=7000, learning_rate=2e-3, similarity="lncc", smoothness=0.03, checkpoint_every=250, **DECIDED
)
LARGE = Motion(amplitude=(0.35, 0.2, 0.2), length=(0.4, 0.25, 0.25))  # up to 20 voxels of 64, as in chapter 11
FAR = replace(PHANTOMS, learning_rate=3e-3)
# On scans the search that needs no training is ahead of Demons.
BESIDE_SCANS = ("identity", "demons-symmetric", "greedy")

RECIPES: dict[str, Recipe] = {
    "hippocampus": Recipe(
        "SHMoAReg, hippocampus, trained with labels", "shmoareg", "hippocampus", WITH_LABELS, beside=BESIDE_SCANS
    ),
    "hippocampus-images": Recipe(
        "SHMoAReg, hippocampus, trained on images alone", "shmoareg", "hippocampus", WITHOUT_LABELS,
        beside=BESIDE_SCANS,
    ),
    "hippocampus-drivenmorph": Recipe(
        "DrivenMorph, hippocampus, trained with labels", "drivenmorph", "hippocampus",
        replace(WITH_LABELS, steps=4000), beside=BESIDE_SCANS,
    ),
    # As many seconds as the first one takes.
    "hippocampus-rman": Recipe(
        "RMAn, hippocampus, trained with labels", "rman", "hippocampus", replace(WITH_LABELS, steps=3000),
        beside=BESIDE_SCANS,
    ),
    "hippocampus-voxelmorph": Recipe(
        "VoxelMorph (MONAI), hippocampus, trained with labels", "voxelmorph", "hippocampus",
        replace(WITH_LABELS, steps=2400), beside=BESIDE_SCANS,
    ),
    "abdomen": Recipe(
        "SHMoAReg, abdominal phantoms, trained with labels", "shmoareg", "abdomen",
        replace(PHANTOMS, steps=8000, labels=0.3), shape=(48, 48, 48), train_pairs=1000,
        sizes={"widths": (24, 48, 64), "decoder_widths": (24, 32, 48)},
    ),
    "abdomen-voxelmorph": Recipe(
        "VoxelMorph (MONAI), abdominal phantoms", "voxelmorph", "abdomen", PHANTOMS, shape=(48, 48, 48), train_pairs=400
    ),
    "abdomen-flat": Recipe(
        "SHMoAReg, coronal sections of abdominal phantoms", "shmoareg", "abdomen", PHANTOMS, shape=(64, 64),
        train_pairs=2000,
    ),
    "abdomen-flat-voxelmorph": Recipe(
        "VoxelMorph (MONAI), coronal sections of abdominal phantoms", "voxelmorph", "abdomen", PHANTOMS,
        shape=(64, 64), train_pairs=2000,
    ),
    "abdomen-flat-drivenmorph": Recipe(
        "DrivenMorph, coronal sections of abdominal phantoms", "drivenmorph", "abdomen", PHANTOMS, shape=(64, 64),
        train_pairs=2000,
    ),
    "abdomen-large-rman": Recipe(
        "RMAn trained with three passes, coronal sections of abdominal phantoms, large motion", "rman", "abdomen",
        FAR, shape=(64, 64), train_pairs=2000, motion=LARGE, sizes={"recursions": 3},
    ),
    "abdomen-large-rman-once": Recipe(
        "RMAn trained with one pass, coronal sections of abdominal phantoms, large motion", "rman", "abdomen",
        FAR, shape=(64, 64), train_pairs=2000, motion=LARGE, sizes={"recursions": 1},
    ),
    "abdomen-large-rman-unseeing": Recipe(
        "RMAn without attention, three passes, coronal sections of abdominal phantoms, large motion", "rman", "abdomen",
        FAR, shape=(64, 64), train_pairs=2000, motion=LARGE, sizes={"recursions": 3, "attention": "none"},
    ),
}  # fmt: skip


class Curve:
    """How a training gets on: measured on pairs of the validation split at `LOOKS` steps, kept on disk beside it."""

    def __init__(self, pairs: Pairs, steps: int, path: Path):
        self.pairs, self.path, self.every = pairs, path, max(1, steps // LOOKS)
        self.points: list[dict] = json.loads(path.read_text(encoding="utf-8"))["points"] if path.exists() else []

    def __call__(self, step: int, model: nn.Module) -> None:
        """Measure after this step, if it is one of those; a step that is done again is measured again."""
        if step % self.every:
            return
        place = next(model.parameters()).device
        measured = evaluate({"": model.eval()}, self.pairs, device=place, surfaces=False)[""]
        model.train()
        before = [point for point in self.points if point["step"] < step]
        self.points = [*before, {"step": step} | {key: measured[key] for key in ("dice", "epe", "fold_fraction")}]
        write_json_whole(self.path, {"points": self.points})


def train(recipe: Recipe, work: Path, *, quick: bool = False) -> tuple[nn.Module, float, list[dict]]:
    """The trained network on the CPU, the seconds it took over all runs, and how it got on on the validation split."""
    config = replace(recipe.training, steps=2) if quick else recipe.training
    pairs, watched = (recipe.pairs(split, quick=quick) for split in ("train", "val"))
    torch.manual_seed(config.seed)
    model = build_for(recipe.model, pairs, **recipe.sizes)
    prepare(model, pairs, config, progress=True)
    curve = Curve([watched[i] for i in range(min(WATCHED, len(watched)))], config.steps, work / "curve.json")
    history = fit(model, pairs, config, out=work, resume=True, title=work.name, on_step=curve)
    return model.cpu(), history.seconds, curve.points


def ship(model: nn.Module, path: Path, pairs: Pairs, trained: TrainedOn | None = None) -> str:
    """Write the weights, as float16 where mean Dice falls by no more than `HALF_COSTS_AT_MOST`; the precision."""
    whole = evaluate({"": model}, pairs, surfaces=False)[""]["dice"]
    save_weights(path, model, half=True, trained=trained)
    halved = evaluate({"": load_model(path)}, pairs, surfaces=False)[""]["dice"]
    if whole - halved <= HALF_COSTS_AT_MOST:
        return "float16"
    save_weights(path, model, trained=trained)
    return "float32"


def origin_of(card: dict, recipe: Recipe, pairs: Pairs) -> dict:
    """Where a network comes from, as its card says it; which scans, only where the recipe is still that of the card."""
    made, now = card["made"], as_json(recipe.training)
    same = all(now.get(name) == value for name, value in card["training"].items())  # younger options are no change
    same = same and card["split"]["train pairs"] == (recipe.train_pairs or "all")
    return {
        "data": card["data"],
        "identity": identity_of(pairs) if same else None,
        "pairs": len(pairs) if same else None,
        "scans": scans_of(pairs) if same else None,
        "licence": licence_of(card["data"]),
        "started_from": None,
        "training": card["training"],
        "steps": card["training"]["steps"],
        "dice": made["validation"][-1]["dice"] if made.get("validation") else None,
        **{name: made.get(name) for name in ("seconds", "date", "code", "moereg", "torch")},
    }


def tell(path: Path, trained: TrainedOn, origin: dict | None = None) -> str:
    """Write into a weights file what its network was trained on, and where it comes from; the tensors stay as they are.

    Returns:
        The tensors' digest.
    """
    tensors, header = read_tensors(path)
    before = digest(tensors)
    told = {KEY: as_entry(trained)} | ({} if origin is None else {PROVENANCE: json.dumps(origin)})
    write_tensors(path, tensors, header | told)
    after = digest(read_tensors(path)[0])
    if after != before:
        raise RuntimeError(f"{path}: tensors changed from {before} to {after}")
    return after


def digest(tensors: dict[str, torch.Tensor]) -> str:
    """Of names, kinds and every bit."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def card(name: str, recipe: Recipe, model: nn.Module, pairs: Pairs, *, made: dict, surfaces: bool) -> dict:
    """Everything to know about one network, every figure measured here."""
    where, loss = best_device(recipe.training.device), recipe.training
    methods = {method: METHODS[method] for method in recipe.beside} | {name: model.to(where)}
    better = Refined(model, recipe.refined, similarity=loss.similarity, smoothness=loss.smoothness)
    methods |= {refined_name(name): better}
    table = evaluate(methods, pairs, device=where, surfaces=surfaces, progress=True)
    return {
        "name": name,
        "title": recipe.title,
        "model": recipe.model,
        "sizes": asdict(model.sizes),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "data": recipe.data,
        "shape": recipe.shape,
        "split": {"train pairs": recipe.train_pairs or "all", "test pairs": len(pairs)},
        "training": asdict(recipe.training),
        "refined": recipe.refined,
        "made": made,
        "measured": machine(where) | {"code": revision()},
        "methods": {method: _brief(values) for method, values in table.items()},
    }


def _brief(values: dict) -> dict:
    """A method's figures, with those of single pairs that a comparison needs."""
    pairs = [{key: pair[key] for key in ("pair", "dice_mean", "epe", "fold_fraction")} for pair in values["pairs"]]
    return values | {"pairs": pairs}


def revision() -> str:
    """The commit that the code is at, with a mark where files differ from it."""
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def make(name: str, recipe: Recipe, *, out: Path, work: Path, quick: bool, measure: bool) -> dict:
    """Train (or, with `measure`, only load), write weights and card."""
    path, record = out / f"{name}.safetensors", out / f"{name}.json"
    test = recipe.pairs("test", quick=quick)
    test = [test[i] for i in range(len(test))]
    pairs = trained = None
    kept = {}  # of the card: how the network was made, which no measurement changes
    if measure:
        kept = {key: json.loads(record.read_text(encoding="utf-8"))[key] for key in ("made", "training")}
        made = kept["made"]
    else:
        made = {"date": time.strftime("%Y-%m-%d"), "code": revision()}  # as they were when it began
        model, seconds, curve = train(recipe, work / name, quick=quick)
        made |= {"seconds": round(seconds, 1), "validation": curve}
        pairs = recipe.pairs("train", quick=quick)
        trained = look_at(pairs, recipe.data)
        made |= machine(best_device(recipe.training.device)) | {"precision": ship(model, path, test, trained)}
    recipe = replace(recipe, refined=2) if quick else recipe
    result = card(name, recipe, load_model(path), test, made=made, surfaces=not quick) | kept
    write_json_whole(record, result)
    if trained is not None and pairs is not None:
        tell(path, trained, origin_of(json.loads(json.dumps(result)), recipe, pairs))
    return result


def say(result: dict) -> None:
    """The figures of one card."""
    for method, values in result["methods"].items():
        shown = {key: values[key] for key in ("dice", "epe", "hd95", "fold_fraction", "seconds_per_pair")}
        cells = ", ".join(f"{key} {value:.4f}" for key, value in shown.items() if value is not None)
        print(f"{result['name']}: {method}: {cells}", flush=True)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*RECIPES, []], help="default: all")
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--tell", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=ROOT / WEIGHTS_FOLDER)
    parser.add_argument("--work", type=Path, default=ROOT / ".weights", help="checkpoints of trainings that go on")
    options = parser.parse_args(arguments)
    if options.quick and options.out.resolve() == (ROOT / WEIGHTS_FOLDER).resolve():
        parser.error("--quick needs --out: its networks have learnt nothing and must not replace those that have")
    for name in options.names or RECIPES:
        if options.tell:
            path = options.out / f"{name}.safetensors"
            pairs = RECIPES[name].pairs("train", quick=options.quick)
            trained = look_at(pairs, RECIPES[name].data)
            known = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            print(f"{path}: tensors {tell(path, trained, origin_of(known, RECIPES[name], pairs))}, {as_entry(trained)}")
            continue
        work = options.out / "work" if options.quick else options.work
        say(make(name, RECIPES[name], out=options.out, work=work, quick=options.quick, measure=options.measure))
        write_page(options.out)


if __name__ == "__main__":
    main()
