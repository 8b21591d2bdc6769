"""`make snapshots`: a training of a network that ships, watched, for the slider and the strip of chapter 09.

    python -m tools.snapshots [NAME]      trains it anew by its recipe, writes data/snapshots/NAME.npz

One phantom is registered before the training and after ever more steps of it; logits and fields are kept, no weights.
The network at the end is the shipped one made again: equal where machine and versions are, else one like it.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from moereg.data import phantoms
from moereg.models import build_for
from moereg.training import fit, prepare
from moereg.viz.snapshots import Snapshots, write_snapshots
from tools.weights import RECIPES

WATCHED = [name for name, recipe in RECIPES.items() if recipe.shape and recipe.model == "shmoareg"]
ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "data" / "snapshots"
SEED = 9000  # of the phantom that is watched: not among the training pairs, the one that chapters 06 to 09 open
MOMENTS = (1 / 512, 1 / 128, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)  # shares of the training


def watch(name: str, folder: Path, *, quick: bool = False) -> Path:
    """Train by the recipe of `name` and write what one phantom became on the way."""
    recipe = RECIPES[name]
    config = replace(recipe.training, steps=8) if quick else recipe.training
    train = recipe.pairs("train", quick=quick)
    pair = phantoms.make(recipe.data, train[0].shape, SEED)
    torch.manual_seed(config.seed)
    model = build_for(recipe.model, train, **recipe.sizes)
    prepare(model, train, config, progress=False)
    snapshots = Snapshots(pair, {0, *(max(1, round(config.steps * share)) for share in MOMENTS)})
    snapshots(0, model)
    fit(model, train, config, progress=not quick, on_step=snapshots)
    return write_snapshots(folder / f"{name}.npz", snapshots.kept)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="abdomen-flat", choices=WATCHED)
    parser.add_argument("--quick", action="store_true", help="a few steps on small pairs")
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args(arguments)
    print(watch(options.name, options.out, quick=options.quick))


if __name__ == "__main__":
    main()
