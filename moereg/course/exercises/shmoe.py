"""Chapter 08, spatially heterogeneous mixture of experts."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from moereg.course.exercises.functions import Inputs, Task
from moereg.nn.routing import choose


def cost(answer: float) -> tuple[bool, str]:
    """Full kernels 1, 3, 5, 7 in 3-D against the nested chain: how many times the multiplications?"""
    full, nested = 1 + 27 + 125 + 343, 1 + 27 + 27 + 27
    if math.isclose(answer, full / nested, abs_tol=0.05):
        return True, f"{full} against {nested} products per voxel and pair of channels."
    if math.isclose(answer, (1 + 3 + 5 + 7) / (1 + 3 + 3 + 3), abs_tol=0.05):
        return False, "That is in one dimension. A kernel of extent k has k^3 weights in 3-D."
    if math.isclose(answer, 343 / 27, abs_tol=0.05):
        return False, "That compares the largest kernel with one link of the chain. Add up all four experts."
    return False, "Add k^3 over the experts; then add 1 and three times 3^3 for the chain."


def extent(answer: int) -> tuple[bool, str]:
    """Five 3^D convolutions one after the other, without activation: the extent of the kernel that they make?"""
    if answer == 11:
        return True, "Each link adds one voxel on either side: 3, 5, 7, 9, 11, and all are one linear convolution."
    if answer == 15:
        return False, "Extents do not add up: a link of extent 3 reaches one voxel further, not three."
    if answer == 243:
        return False, "That would be five strides of 3. These links have none."
    if answer == 7:
        return False, "That is the chain of three links above."
    return False, "How far to the left can the output at x see after one link, after two, after three?"


def voxel(answer: float, *, gates: list[float], proposals: list[float]) -> tuple[bool, str]:
    """The residual displacement of one voxel and direction from its gates and proposals."""
    right = sum(g * p for g, p in zip(gates, proposals, strict=True))
    if math.isclose(answer, right, rel_tol=1e-3, abs_tol=5e-4):
        return True, "Gate times proposal, added up: experts whose gate is zero propose in vain."
    if math.isclose(answer, sum(proposals), rel_tol=1e-3, abs_tol=5e-4):
        return False, "Those are all proposals. Each counts only as much as its gate says."
    return False, "Multiply each proposal by its gate, then add."


def _links() -> Inputs:
    """Features, and kernels and biases of a chain's links, in 2-D and in 3-D."""
    draw = torch.Generator().manual_seed(81)
    found = {}
    for shape, links in (((8, 9), 3), ((6, 5, 7), 2)):
        weights = torch.randn(links, 3, 3, *(3 for _ in shape), generator=draw) / 5
        features = torch.randn(2, 3, *shape, generator=draw)
        found[f"in {len(shape)}-D"] = (features, weights, torch.randn(links, 3, generator=draw))
    return found


def _convolve(features: Tensor, weight: Tensor, bias: Tensor, padding: int = 1) -> Tensor:
    return {4: F.conv2d, 5: F.conv3d}[features.dim()](features, weight, bias, padding=padding)


def _chain(features: Tensor, weights: Tensor, biases: Tensor) -> list[Tensor]:
    maps = [features]
    for weight, bias in zip(weights, biases, strict=True):
        maps.append(_convolve(maps[-1], weight, bias))
    return maps[1:]


def _side_by_side(features: Tensor, weights: Tensor, biases: Tensor) -> list[Tensor]:
    return [_convolve(features, weight, bias) for weight, bias in zip(weights, biases, strict=True)]


def _activated(features: Tensor, weights: Tensor, biases: Tensor) -> list[Tensor]:
    maps = [features]
    for weight, bias in zip(weights, biases, strict=True):
        maps.append(F.relu(_convolve(maps[-1], weight, bias)))
    return maps[1:]


def _activated_between(features: Tensor, weights: Tensor, biases: Tensor) -> list[Tensor]:
    maps, before = [], features
    for weight, bias in zip(weights, biases, strict=True):
        maps.append(_convolve(before, weight, bias))
        before = F.relu(maps[-1])
    return maps


def _shrinking(features: Tensor, weights: Tensor, biases: Tensor) -> list[Tensor]:
    maps = [features]
    for weight, bias in zip(weights, biases, strict=True):
        maps.append(_convolve(maps[-1], weight, bias, padding=0))
    return maps[1:]


def _with_input(features: Tensor, weights: Tensor, biases: Tensor) -> list[Tensor]:
    maps = [features]
    for weight, bias in zip(weights, biases, strict=True):
        maps.append(maps[-1] + _convolve(maps[-1], weight, bias))
    return maps[1:]


_WITH_ACTIVATION = (
    "There is an activation in the chain. Without one, every map is a single linear convolution of the features, and "
    "that is what the experts of other kinds are too."
)
nested = Task(
    right=_chain,
    inputs=_links,
    mistakes={
        "Every link reads the features: these are experts of extent 3, all of them. Read the link before.": (
            _side_by_side
        ),
        "That is the last map alone. Every link is an expert: return one map for each.": (
            lambda *given: _chain(*given)[-1]
        ),
        _WITH_ACTIVATION: _activated,
        _WITH_ACTIVATION + " (Yours stands between the links.)": _activated_between,
        "The maps shrink: pad by one voxel, so that each has the features' grid.": _shrinking,
        "Each link adds what it read. A chain hands on what it computed and nothing else.": _with_input,
    },
    praise="Extents 3, 5, 7 for the price of 3, 3, 3: the library's nested experts.",
    hint="Start with the features; each link convolves the map before it (padding 1); keep every map.",
)


def _decided() -> Inputs:
    """Maps of four experts, logits for every direction, a readout, and k, in 2-D and in 3-D."""
    draw = torch.Generator().manual_seed(82)
    found = {}
    for shape, k in (((3, 4), 2), ((2, 3, 3), 1), ((2, 3, 2), 3)):
        dims = len(shape)
        maps = torch.randn(2, 4, 5, *shape, generator=draw)
        logits = torch.randn(2, dims, 4, *shape, generator=draw)
        found[f"in {dims}-D with k = {k}"] = (maps, logits, torch.randn(dims, 5, generator=draw), k)
    return found


def _mixed(maps: Tensor, gates: Tensor, readout: Tensor) -> Tensor:
    return torch.einsum("bdn...,bnc...,dc->bd...", gates, maps, readout)


def _per_direction(maps: Tensor, logits: Tensor, readout: Tensor, k: int) -> Tensor:
    return _mixed(maps, choose(logits, k, "renormalised")[0], readout)


def _along_directions(maps: Tensor, logits: Tensor, readout: Tensor, k: int) -> Tensor:
    chosen = torch.zeros_like(logits).scatter(2, logits.topk(k, dim=2).indices, 1.0)
    gates = logits.softmax(1) * chosen
    return _mixed(maps, gates / gates.sum(2, keepdim=True), readout)


directions = Task(
    right=_per_direction,
    inputs=_decided,
    mistakes={
        "All directions take the first one's decision. Each has logits of its own: axis 1.": (
            lambda maps, logits, readout, k: _per_direction(maps, logits[:, :1].expand_as(logits), readout, k)
        ),
        "All directions share one decision, made from the mean of their logits.": (
            lambda maps, logits, readout, k: _per_direction(
                maps, logits.mean(1, keepdim=True).expand_as(logits), readout, k
            )
        ),
        "The softmax runs over the directions. The experts are axis 2 of (batch, direction, expert, ...).": (
            _along_directions
        ),
        "The axes are exchanged: gates of direction d belong to row d of the readout.": (
            lambda maps, logits, readout, k: _per_direction(maps, logits, readout.flip(0), k)
        ),
        "All experts are mixed. Keep the k largest logits of each direction.": (
            lambda maps, logits, readout, k: _mixed(maps, logits.softmax(2), readout)
        ),
        "The gates of the chosen are not renormalised: they add up to less than one.": (
            lambda maps, logits, readout, k: _mixed(maps, choose(logits, k, "raw")[0], readout)
        ),
    },
    praise="One set of maps, a decision and a readout for every direction, in 2-D and 3-D.",
    hint="Top-k along axis 2, softmax of the chosen, scatter; then sum over experts and channels with row d.",
)


def _kernels() -> Inputs:
    """A convolution with as many channels out as in, and a readout, in 2-D and in 3-D."""
    draw = torch.Generator().manual_seed(83)
    return {
        f"in {dims}-D": (
            torch.randn(4, 4, *(extent for _ in range(dims)), generator=draw),
            torch.randn(4, generator=draw),
            torch.randn(dims, 4, generator=draw),
        )
        for dims, extent in ((2, 5), (3, 3))
    }


def _folded(weight: Tensor, bias: Tensor, readout: Tensor) -> tuple[Tensor, Tensor]:
    return torch.einsum("do,oi...->di...", readout, weight), readout @ bias


fold = Task(
    right=_folded,
    inputs=_kernels,
    mistakes={
        "The kernel is right. The bias is read too: `readout @ bias`.": (
            lambda weight, bias, readout: (
                _folded(weight, bias, readout)[0],
                torch.zeros(len(readout)) + 0 * bias.sum(),
            )
        ),
        "The readout weighs *output* channels, axis 0 of the kernel; axis 1 holds the channels of the features.": (
            lambda weight, bias, readout: (torch.einsum("di,oi...->do...", readout, weight), readout @ bias)
        ),
        "The output channels are added up as they are. Weigh them with the rows of the readout.": (
            lambda weight, bias, readout: _folded(weight, bias, torch.ones_like(readout) + 0 * readout)
        ),
        "The kernel is flipped. torch's convolution is a correlation, and the readout leaves places as they are.": (
            lambda weight, bias, readout: (
                _folded(weight.flip(list(range(2, weight.dim()))), bias, readout)[0],
                readout @ bias,
            )
        ),
    },
    praise="One kernel with D outputs in place of one with C: the mixtures need never be made.",
    hint="Sum over output channels o: readout[d, o] * weight[o]; the same for the bias.",
)

EXERCISES = {
    "shmoe-nested": nested,
    "shmoe-directions": directions,
    "shmoe-fold": fold,
    "shmoe-cost": cost,
    "shmoe-extent": extent,
    "shmoe-voxel": voxel,
}
