"""`make snapshots`: a training of a network that ships, watched, for the slider and the strip of chapter 09.

    python -m tools.snapshots [NAME]      trains it anew by its recipe, writes data/snapshots/NAME.npz

One phantom is registered before the training and after ever more steps of it; logits and fields are kept, no weights.
The training is left after the last of these steps, in a minute; the last entry is the network that ships, after
all steps of its recipe.
"""

import argparse
import contextlib
from pathlib import Path

import torch
from torch import nn

from moereg.data import phantoms
from moereg.models import build_for, load_model
from moereg.training import fit, prepare
from moereg.viz.snapshots import Snapshots, write_snapshots
from tools.weights import RECIPES

WATCHED = [name for name, recipe in RECIPES.items() if recipe.shape and recipe.model == "shmoareg"]
ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "data" / "snapshots"
SEED = 9000  # of the phantom that is watched: not among the training pairs, the one that chapters 06 to 09 open
MOMENTS = (0, 8, 15, 30, 60, 125, 250)


class Enough(Exception):
    """The last step that is watched is done."""


def watch(name: str, folder: Path, *, moments: tuple[int, ...] = MOMENTS, quick: bool = False) -> Path:
    """Train by the recipe of `name` as far as the last of `moments`, write what one phantom became on the way."""
    recipe = RECIPES[name]
    train = recipe.pairs("train", quick=quick)
    pair = phantoms.make(recipe.data, train[0].shape, SEED)
    torch.manual_seed(recipe.training.seed)
    model = build_for(recipe.model, train, **recipe.sizes)
    prepare(model, train, recipe.training, progress=False)
    snapshots = Snapshots(pair, {*moments, recipe.training.steps})

    def look(step: int, model: nn.Module) -> None:
        snapshots(step, model)
        if step == moments[-1]:
            raise Enough

    look(0, model)
    with contextlib.suppress(Enough):
        fit(model, train, recipe.training, progress=not quick, on_step=look)
    snapshots(recipe.training.steps, load_model(name))
    return write_snapshots(folder / f"{name}.npz", snapshots.kept)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="abdomen-flat", choices=WATCHED)
    parser.add_argument("--quick", action="store_true", help="a few steps on small pairs")
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args(arguments)
    moments = MOMENTS[:3] if options.quick else MOMENTS
    print(watch(options.name, options.out, moments=moments, quick=options.quick))


if __name__ == "__main__":
    main()
