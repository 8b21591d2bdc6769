"""Arguments that were taken for something else without a word, and numbers that did not arrive as they left."""

import pytest
import torch

from moereg import fields, similarity
from moereg.metrics import PairScore, dice, summarise
from moereg.models import build
from moereg.models.rman import average_pooled
from moereg.nn import (
    ConvolutionExperts,
    MixtureOfAttentionHeads,
    MultiHeadAttention,
    MutualAttention,
    Router,
    SpatialHeterogeneousMoE,
)
from moereg.nn.routing import choose
from moereg.training import TrainingConfig
from moereg.viz.steps import router_steps
from tests.oracle_models import box_pair

TINY = {"dims": 2, "widths": (4, 4), "decoder_widths": (4, 4), "moa_levels": (1,), "heads": 2, "head_dim": 4}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_labels_arrive_as_they_left(dtype):
    """257 is no number of bfloat16, 2^24 + 1 none of float32."""
    labels = torch.tensor([0, 257, 999, 2**24 + 1, 2**40 + 1]).expand(1, 1, 4, 5)
    u = torch.zeros(1, 2, 4, 5, dtype=dtype)
    u[:, 1, :, :4] = 1
    assert fields.warp_labels(labels, u)[0, 0, 0].tolist() == [257, 999, 2**24 + 1, 2**40 + 1, 2**40 + 1]
    assert fields.warp_labels(labels.clamp_max(999), u)[0, 0, 0].tolist() == [257, 999, 999, 999, 999]
    for small in (torch.uint8, torch.bool, torch.int16):
        assert fields.warp_labels((labels == 999).to(small), u).dtype == small


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64])
def test_dice_counts_labels_of_any_dtype(dtype):
    labels = torch.arange(200).to(dtype).reshape(1, 20, 10)
    assert dice(labels, labels) == dict.fromkeys(range(1, 200), 1.0)
    half = torch.where(labels < 100, labels, 0)
    assert dice(half, labels) == dict.fromkeys(range(1, 100), 1.0) | dict.fromkeys(range(100, 200), 0.0)


@pytest.mark.parametrize("large", [100_000, 2**40])
def test_dice_counts_labels_of_any_size(large):
    fixed = torch.tensor([[0, 1, 1, large, large, large]])
    warped = torch.tensor([[1, 1, 0, large, large, 7]])
    assert dice(warped, fixed) == pytest.approx({1: 0.5, large: 0.8})


def test_two_labels_of_one_name_are_two_rows():
    score = PairScore("p", {1: 0.5, 2: 1.0, 3: 0.25}, {}, {}, None, 0.0, 0.0, 1.0)
    found = summarise([score], {1: "lung", 2: "lung", 4: "3"})["dice_per_label"]
    assert found == {"lung (1)": 0.5, "lung (2)": 1.0, "3 (3)": 0.25}


def test_volumes_of_16_bits_are_averaged():
    volume = torch.arange(27.0).reshape(1, 1, 3, 3, 3)
    pooled = average_pooled(volume.bfloat16())
    assert pooled.dtype == torch.bfloat16
    torch.testing.assert_close(pooled, average_pooled(volume).bfloat16())


def features(channels=4):
    return torch.rand(1, channels, 4, 4)


REFUSED = {
    "upsample to more than twice": (lambda: fields.upsample(features(), (10, 10)), r"shape must have 2 n - 1 or 2 n"),
    "upsample to less": (lambda: fields.upsample(features(), (7, 6)), r"got \(7, 6\) for \(4, 4\)"),
    "no iterations": (lambda: fields.invert(features(2), iterations=0), "iterations must be a positive integer, got 0"),
    "epsilon": (lambda: similarity.lncc(features(), features(), epsilon=-1.0), "epsilon must not be negative, got -1"),
    "gate": (lambda: choose(torch.rand(1, 1, 3, 4), 1, "bogus"), "gate must be one of 'raw', .*, got 'bogus'"),
    "k": (lambda: choose(torch.rand(1, 1, 3, 4), 4, "raw"), r"k must be between 1 and the number of experts \(3\)"),
    "nested twins": (
        lambda: ConvolutionExperts(4, 4, dims=2, kernel_sizes=(3, 3), kind="nested"),
        r"kernel_sizes of nested experts must differ, or two were one, got \(3, 3\)",
    ),
    "router, channels": (lambda: Router(4, ("a", "b"), k=1)(features(3)), r"features must have 4 channels, as the"),
    "shmoe, channels": (
        lambda: SpatialHeterogeneousMoE(16, dims=2)(features(2)),
        r"features must have 16 channels, as the layer was built for, got shape \(1, 2, 4, 4\)",
    ),
    "moa, channels": (lambda: MixtureOfAttentionHeads(16)(features(2)), "features must have 16 channels"),
    "moa, context": (
        lambda: MixtureOfAttentionHeads(4)(features(), torch.rand(1, 4, 5, 4)),
        "context and features must have the same shape",
    ),
    "moa, window": (lambda: MixtureOfAttentionHeads(4, window=0), "window must be a positive integer, got 0"),
    "moa, heads": (lambda: MixtureOfAttentionHeads(4, heads=0), "heads must be a positive integer, got 0"),
    "mutual, window": (lambda: MutualAttention(4, window=0), "window must be a positive integer, got 0"),
    "mutual, channels": (lambda: MutualAttention(4)(features(3), features(3)), "first must have 4 channels"),
    "mutual, shapes": (
        lambda: MutualAttention(4)(features(), torch.rand(1, 4, 5, 4)),
        "second and first must have the same shape",
    ),
    "heads, channels": (
        lambda: MultiHeadAttention(4, heads=2, head_dim=2)(torch.rand(1, 5, 3)),
        "tokens must have 4 channels",
    ),
    "heads, context": (
        lambda: MultiHeadAttention(4, heads=2, head_dim=2)(torch.rand(1, 5, 4), torch.rand(1, 5, 3)),
        "context must have 4 channels",
    ),
    "head_dim": (lambda: MultiHeadAttention(4, heads=2, head_dim=0), "head_dim must be a positive integer"),
    "precision": (
        lambda: TrainingConfig(precision="bf16-true"),
        "precision must be one of '32-true', '16-mixed', 'bf",
    ),
    "seed": (lambda: TrainingConfig(seed=-1), r"seed must be a whole number from zero on, below 2\^32, got -1"),
}


@pytest.mark.plain_errors
@pytest.mark.parametrize(("call", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


@pytest.mark.plain_errors
@pytest.mark.parametrize("name", ["shmoareg", "drivenmorph", "rman", "segreg"])
def test_images_of_another_precision_are_refused_by_name(name):
    sizes = {"shmoareg": TINY, "segreg": {"dims": 2, "backbone_sizes": TINY}}.get(name, {"dims": 2})
    model, image = build(name, **sizes), torch.rand(1, 1, 16, 16)
    with pytest.raises(TypeError, match=r"moving must be torch.float32 like the model, got torch.float64; convert one"):
        model(image.double(), image.double())
    with pytest.raises(TypeError, match="fixed must be torch.float32 like the model"):
        model(image, image.double())
    with pytest.raises(ValueError, match="moving must lie on meta as the model does, got cpu"):
        model.to("meta")(image, image)


def test_under_autocast_any_precision_will_do():
    model, image = build("shmoareg", **TINY), torch.rand(1, 1, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        assert model(image.bfloat16(), image.bfloat16()).displacement.shape == (1, 2, 16, 16)


@pytest.mark.plain_errors
@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"voxel": (99, 0)}, r"voxel must lie in the image, of shape \(16, 16\), got \(99, 0\)\."),
        ({"voxel": (0, -1)}, "voxel must lie in the image"),
        ({"voxel": (0, 0, 0)}, "voxel must lie in the image"),
        ({"direction": "z"}, r"direction must be one of \['y', 'x'\], got 'z'\."),
        ({"direction": 2}, r"direction must be one of \[0, 1\], got 2\."),
        ({"image": "warped"}, "image must be one of 'moving', 'fixed', got 'warped'"),
    ],
)
def test_a_decision_that_is_not_there_is_refused(asked, sentence):
    pair = box_pair((16, 16), (3, 3), (4, 4), (1, 0))
    with pytest.raises(ValueError, match=sentence):
        router_steps(build("shmoareg", **TINY), pair, **{"layer": "decoder.0.shmoe", "voxel": (3, 4)} | asked)
