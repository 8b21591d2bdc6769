"""Options of `moereg train`: what of a training has a flag, and which one."""

import argparse
from argparse import BooleanOptionalAction
from pathlib import Path

from moereg.cli.options import device_option

RUN = "run.toml"  # in OUT: what the run was asked for
# flag -> (field of TrainingConfig, what its value is, help)
TRAINING = {
    "steps": ("steps", int, "training steps"),
    "learning-rate": ("learning_rate", float, "peak of the learning rate"),
    "schedule": ("schedule", str, "of the learning rate after the warm-up: cosine or constant"),
    "warmup": ("warmup", int, "steps of warm-up (default: a twentieth; 100 where the rate is constant)"),
    "similarity": ("similarity", str, "lncc, mse or mi"),
    "window": ("window", int, "of lncc, voxels, odd"),
    "first-window": ("first_window", int, "wider window of lncc at the first step, which shrinks to --window"),
    "smoothness": ("smoothness", float, "weight of the field's roughness"),
    "labels-weight": ("labels", float, "weight of the overlap of labels; zero: labels are not used"),
    "motion-weight": ("motion", float, "weight of the error of the displacement, where the truth is known"),
    "folds-weight": ("folds", float, "weight of folded voxels"),
    "inverse-weight": ("inverse", float, "weight of inverse consistency"),
    "balance-weight": ("balance", float, "weight of even load of the experts"),
    "information-weight": ("information", float, "weight of what experts know about the place"),
    "z-weight": ("z", float, "weight of small logits"),
    "force-weight": ("force", float, "weight of the deep supervision of forces"),
    "pairs-per-step": ("pairs_per_step", int, "pairs in one pass on one device"),
    "accumulate": ("accumulate", int, "passes whose gradients add up to one step"),
    "average": ("average", float, "decay of a moving average of the weights, which then is the result, as 0.999"),
    "precision": ("precision", str, "32-true, bf16-mixed, 16-mixed (GPU) or 64-true"),
    "checkpoint-every": ("checkpoint_every", int, "steps between two checkpoints"),
    "seed": ("seed", int, "of phantoms, first weights and the order of pairs"),
}
# Of every pair, drawn anew at each step: fields of `Augmentation` behind --augment-
AUGMENTATION = {
    "turn": "turn of each image, degrees, standard deviation",
    "scale": "change of size along each axis, standard deviation of its logarithm",
    "shift": "shift along each axis, voxels, standard deviation",
    "bend": "smooth random deformation, voxels, standard deviation",
    "bend_sigma": "how smooth it is: sigma in voxels",
    "gamma": "change of contrast, standard deviation of the logarithm of gamma",
    "gain": "change of brightness, standard deviation of its logarithm",
    "noise": "white noise, standard deviation; images lie between 0 and 1",
}
SWITCHES = {
    "checkpointing": "keep fewer activations and compute them again: less memory, more time",
    "compile": "compile the network with torch.compile",
}


def add_options(train: argparse.ArgumentParser) -> None:
    """Everything that the command line of a training may say."""
    train.add_argument("model", nargs="?", help="a row of moereg.models.MODELS, as shmoareg; a wrong name lists them")
    train.add_argument("--data", help="name of a data set, or PAIRS.csv")
    train.add_argument("--out", type=Path, required=True, help=f"folder for checkpoint, weights and {RUN}")
    train.add_argument("--config", type=Path, metavar="FILE", help=f"{RUN} of another run; options given here win")
    train.add_argument(
        "--resume",
        action="store_true",
        help="go on from the checkpoint in OUT, as it began; more --steps lengthen it",
    )
    train.add_argument("--init-weights", help="file or name of weights to begin with")
    train.add_argument("--shape", type=int, nargs="+", metavar="N", help="grid of the images (default: the data's own)")
    train.add_argument("--pairs", type=int, metavar="N", help="how many pairs to train on (default: all)")
    for flag, (name, kind, text) in TRAINING.items():
        train.add_argument(f"--{flag}", type=kind, dest=name, metavar=kind.__name__.upper(), help=text)
    for name, text in AUGMENTATION.items():
        flag = f"--augment-{name.replace('_', '-')}"
        train.add_argument(flag, type=float, dest=f"augment_{name}", metavar="FLOAT", help=text)
    train.add_argument(
        "--augment-mirror",
        type=int,
        nargs="+",
        metavar="AXIS",
        help="tensor axes along which half of the pairs are mirrored",
    )
    train.add_argument(
        "--augment-exchange",
        type=_couple,
        nargs="+",
        metavar="A:B",
        help="labels that change places in a mirrored pair, as left and right kidney",
    )
    for name, text in SWITCHES.items():
        train.add_argument(f"--{name}", action=BooleanOptionalAction, default=None, help=text)
    train.add_argument("--threads", type=int, metavar="N", help="of the CPU (default: torch's choice)")
    train.add_argument("--licence", help="under which the weights may be used; written into their file")
    device_option(train, default=None)


def _couple(text: str) -> tuple[int, int]:
    """Two labels, "2:3"."""
    first, _, second = text.partition(":")
    if not (first.isascii() and first.isdigit() and second.isascii() and second.isdigit()):
        raise argparse.ArgumentTypeError(f"must be two labels, as 2:3, got {text!r}.")
    return int(first), int(second)
