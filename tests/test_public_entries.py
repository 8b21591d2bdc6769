"""Every public function and layer, called wrongly: one sentence that names the argument.

A row of `ENTRIES` is a call with one open place and a value that belongs there. What is put there instead are the
usual mistakes of a caller (`spoiled`); those that the function may well take are named in `TAKEN`.
"""

import pytest
import torch

from moereg import fields, models, regularity, similarity
from moereg.classical import demons
from moereg.data import datasets, load_displacement, load_grid, load_labels, load_volume, phantoms, save_volume
from moereg.nn import (
    MixtureOfAttentionHeads,
    MultiHeadAttention,
    MutualAttention,
    NeuralDemonsLayer,
    Router,
    SpatialHeterogeneousMoE,
)

pytestmark = pytest.mark.plain_errors
IMAGE, FIELD = torch.rand(1, 1, 8, 9), torch.zeros(1, 2, 8, 9)
TINY = {"dims": 2, "widths": (4, 4), "decoder_widths": (4, 4), "moa_levels": (1,), "heads": 2, "head_dim": 4}
NETWORK = models.build("shmoareg", **TINY).eval()

ENTRIES = {
    "warp, image": (lambda x: fields.warp(x, FIELD), IMAGE),
    "warp, displacement": (lambda x: fields.warp(IMAGE, x), FIELD),
    "compose, u": (lambda x: fields.compose(x, FIELD), FIELD),
    "compose, v": (lambda x: fields.compose(FIELD, x), FIELD),
    "exponentiate": (fields.exponentiate, FIELD),
    "invert": (fields.invert, FIELD),
    "jacobian_determinant": (fields.jacobian_determinant, FIELD),
    "mse, warped": (lambda x: similarity.mse(x, IMAGE), IMAGE),
    "mse, fixed": (lambda x: similarity.mse(IMAGE, x), IMAGE),
    "lncc, warped": (lambda x: similarity.lncc(x, IMAGE), IMAGE),
    "lncc, fixed": (lambda x: similarity.lncc(IMAGE, x), IMAGE),
    "diffusion": (regularity.diffusion, FIELD),
    "bending_energy": (regularity.bending_energy, FIELD),
    "fold_fraction": (regularity.fold_fraction, FIELD),
    "demons, moving": (lambda x: demons(x, IMAGE, iterations=1), IMAGE),
    "demons, fixed": (lambda x: demons(IMAGE, x, iterations=1), IMAGE),
    "model, moving": (lambda x: NETWORK(x, IMAGE), IMAGE),
    "model, fixed": (lambda x: NETWORK(IMAGE, x), IMAGE),
}
ALONE = ("exponentiate", "invert", "jacobian_determinant", "diffusion", "bending_energy", "fold_fraction")
# Any grid and any batch are right where there is no second tensor; an image may have its own grid.
TAKEN = {(name, kind) for name in ALONE for kind in ("another grid", "another batch")}
TAKEN |= {("warp, image", "another grid"), ("warp, displacement", "another grid")}


def spoiled(good):
    return {
        "nothing": None,
        "a text": "image.nii",
        "a list": good.tolist(),
        "an array": good.numpy(),
        "too few axes": good[0],
        "too many axes": good[None, None],
        "whole numbers": good.long(),
        "complex numbers": good.to(torch.complex64),
        "NaN": torch.full_like(good, torch.nan),
        "infinity": torch.full_like(good, torch.inf),
        "an empty axis": good[..., :0],
        "another grid": torch.rand(*good.shape[:2], 5, 5),
        "another batch": good.repeat(2, 1, 1, 1),
    }


CASES = [(name, kind) for name, (_, good) in ENTRIES.items() for kind in spoiled(good) if (name, kind) not in TAKEN]


def refused(call) -> None:
    with pytest.raises((ValueError, TypeError, FileNotFoundError), match=" must ") as error:
        call()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_spoiled_tensor_is_refused(name, kind):
    call, good = ENTRIES[name]
    refused(lambda: call(spoiled(good)[kind]))


@pytest.mark.parametrize("name", ENTRIES)
def test_what_belongs_there_is_taken(name):
    call, good = ENTRIES[name]
    call(good)


MAPS = torch.rand(1, 4, 8, 8)
LAYERS = {
    "router": Router(4, ("a", "b"), k=1),
    "heads": MixtureOfAttentionHeads(4, heads=2, k=1, head_dim=2, window=4),
    "shmoe": SpatialHeterogeneousMoE(4, dims=2, kernel_sizes=(1, 3), k=1),
    "mutual, first": lambda x: MutualAttention(4, heads=2, head_dim=2, window=4)(x, MAPS),
    "mutual, second": lambda x: MutualAttention(4, heads=2, head_dim=2, window=4)(MAPS, x),
    "demons, fixed": lambda x: NeuralDemonsLayer(2)(x, MAPS),
    "demons, moving": lambda x: NeuralDemonsLayer(2)(MAPS, x),
}
WRONG_MAPS = {
    "other channels": torch.rand(1, 3, 8, 8),
    "too few axes": torch.rand(4, 8),
    "nothing": None,
    "double precision": MAPS.double(),
}
TAKEN_MAPS = {"demons, fixed", "demons, moving"}  # have no weights whose precision it could be


@pytest.mark.parametrize("kind", WRONG_MAPS)
@pytest.mark.parametrize("name", LAYERS)
def test_wrong_features_of_a_layer(name, kind):
    if kind == "double precision" and name in TAKEN_MAPS:
        return
    refused(lambda: LAYERS[name](WRONG_MAPS[kind]))


OPTIONS = {
    "grid, nothing": lambda: fields.identity_grid(None),
    "grid, a text": lambda: fields.identity_grid("8"),
    "grid, below zero": lambda: fields.identity_grid((-3, 4)),
    "grid, fractions": lambda: fields.identity_grid((3.5, 4)),
    "grid, no axes": lambda: fields.identity_grid(()),
    "warp, mode": lambda: fields.warp(IMAGE, FIELD, mode="cubic"),
    "warp, padding": lambda: fields.warp(IMAGE, FIELD, padding="mirror"),
    "exponentiate, steps": lambda: fields.exponentiate(FIELD, steps=-1),
    "exponentiate, half a step": lambda: fields.exponentiate(FIELD, steps=2.5),
    "invert, iterations": lambda: fields.invert(FIELD, iterations=0),
    "lncc, window 0": lambda: similarity.lncc(IMAGE, IMAGE, window=0),
    "lncc, even window": lambda: similarity.lncc(IMAGE, IMAGE, window=4),
    "lncc, window a text": lambda: similarity.lncc(IMAGE, IMAGE, window="9"),
    "build, unknown": lambda: models.build("vit"),
    "build, nothing": lambda: models.build(None),
    "build, unknown size": lambda: models.build("rman", bogus=1),
    **{f"build, {name} in 5-D": lambda name=name: models.build(name, dims=5) for name in models.MODELS},
    "demons, variant": lambda: demons(IMAGE, IMAGE, "optical"),
    "demons, iterations": lambda: demons(IMAGE, IMAGE, iterations=0),
    "demons, half an iteration": lambda: demons(IMAGE, IMAGE, iterations=1.5),
    "heads, none": lambda: MultiHeadAttention(4, heads=0, head_dim=2),
    "router, too many": lambda: Router(4, ("a", "b"), k=3),
    "shmoe, no kernels": lambda: SpatialHeterogeneousMoE(4, dims=2, kernel_sizes=()),
    "shmoe, even kernel": lambda: SpatialHeterogeneousMoE(4, dims=2, kernel_sizes=(2,)),
    "phantoms, anatomy": lambda: phantoms.make("knee", (8, 8), 0),
    "phantoms, small": lambda: phantoms.make("abdomen", (4, 4), 0),
    "phantoms, four axes": lambda: phantoms.make("abdomen", (8,) * 4, 0),
    "phantoms, shape a text": lambda: phantoms.make("abdomen", "ab", 0),
    "phantoms, shape a number": lambda: phantoms.make("abdomen", 8, 0),
    "phantoms, seed": lambda: phantoms.make("abdomen", (8, 8), -1),
    "phantoms, half a seed": lambda: phantoms.make("abdomen", (8, 8), 1.5),
    "load, nothing": lambda: datasets.load(None),
    "load, split": lambda: datasets.load("abdomen", "validation"),
    "load, count": lambda: datasets.load("abdomen", count=0),
    "load, seed": lambda: datasets.load("abdomen", seed=-1)[0],
    "public, name": lambda: datasets.public("knee"),
    "volume, nowhere": lambda: load_volume("nowhere.nii"),
    "labels, nowhere": lambda: load_labels("nowhere.nii"),
    "grid, nowhere": lambda: load_grid("nowhere.nii"),
    "field, nowhere": lambda: load_displacement("nowhere.nii"),
    "save, name": lambda: save_volume("x.mha", IMAGE[0], torch.eye(4).numpy()),
    "weights, unknown": lambda: models.load_model("spleen"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_wrong_option_is_refused(name):
    refused(OPTIONS[name])
