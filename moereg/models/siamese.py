"""Both images through one encoder, and each of them once.

A training registers every pair in both directions: the batch holds `moving = (a, b)` and `fixed = (b, a)`. An encoder
that sees one image at a time makes the same features of `fixed` as of `moving`, in another order, so half of its work
can be left out. A network that reads both images in one convolution, as VoxelMorph does, cannot do that.
"""

from collections.abc import Callable
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

Rest = TypeVar("Rest")


def encode_both(
    encode: Callable[[Tensor], tuple[list[Tensor], Rest]],
    moving: Float[Tensor, "batch channel *space"],
    fixed: Float[Tensor, "batch channel *space"],
    *,
    training: bool,
) -> tuple[list[Tensor], list[Tensor], Rest]:
    """Features of the moving and of the fixed images at every level, and what `encode` returns beside them.

    Args:
        encode: images along the batch -> features at every level, and anything else. It treats items alike.
        training: outside of one, all images are encoded, so that what is returned beside the features (the routing)
            always has the moving images first and then the fixed ones.
    """
    if training and both_directions(moving, fixed):
        features, rest = encode(moving)
        return features, [exchanged(level) for level in features], rest
    features, rest = encode(torch.cat([moving, fixed]))
    halves = [level.chunk(2) for level in features]
    return [first for first, _ in halves], [second for _, second in halves], rest


def both_directions(moving: Tensor, fixed: Tensor) -> bool:
    """Whether the second half of a batch holds the pairs of the first half the other way round.

    The images are compared, which costs less than their first convolution by far. Never where a gradient with respect
    to the images is asked for (the two of them would share it), and not while a graph is compiled, where values are
    unknown.
    """
    half, odd = divmod(len(moving), 2)
    if odd or torch.compiler.is_compiling() or moving.requires_grad or fixed.requires_grad:
        return False
    return torch.equal(moving[:half], fixed[half:]) and torch.equal(moving[half:], fixed[:half])


def exchanged(features: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch channel *space"]:
    """The two halves of the batch, the second one first."""
    return features.roll(len(features) // 2, 0)
