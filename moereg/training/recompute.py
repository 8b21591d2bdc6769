"""Activation checkpointing: keep what goes into a network's parts, and compute what happens within them a second time.

A training keeps, from the forward to the backward pass, every map that a derivative needs. Of a part that is computed
anew in the backward pass only its inputs are kept. Value and gradient stay the same; a step takes about a third more
time. Source: Chen et al. 2016, "Training deep nets with sublinear memory cost"; the work is done by
`torch.utils.checkpoint`.

A part is the outermost module that is called and at most `DEPTH` levels of modules deep: a block of convolutions, a
mixture of experts, a block of attention. So no model has to say what its parts are. VoxelMorph gains
nothing: its blocks are single convolutions, whose inputs are kept either way.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

DEPTH = 2  # levels of modules in a part, lists not counted
LISTS = (nn.ModuleList, nn.ModuleDict)

_inside: list[nn.Module] = []  # the part that is being computed


@contextmanager
def recomputing(model: nn.Module) -> Iterator[None]:
    """What is computed by the parts of `model` within the block is computed anew when its gradient is asked for.

    Raises:
        ValueError: a model without parts.
    """
    parts = parts_of(model)
    if not parts:
        raise ValueError(f"checkpointing must find parts to compute anew, got none in {type(model).__name__}.")
    for part in parts:
        vars(part)["forward"] = partial(_forward, part)
    try:
        yield
    finally:
        for part in parts:
            del vars(part)["forward"]


def parts_of(model: nn.Module) -> list[nn.Module]:
    """Every module that may be a part; those within another part are computed with it."""
    return [module for module in model.modules() if module is not model and _may_be_part(module)]


def _may_be_part(module: nn.Module) -> bool:
    if isinstance(module, LISTS) or next(module.parameters(), None) is None:
        return False
    plain = type(module).__module__.startswith("torch.nn") and not any(module.children())
    return not plain and depth(module) <= DEPTH


def depth(module: nn.Module) -> int:
    """Levels of modules below this one."""
    below = [depth(child) for child in module.children()]
    return max(below, default=-1) + (0 if isinstance(module, LISTS) else 1)


def _forward(part: nn.Module, *arguments, **options) -> Any:
    if _inside:
        return type(part).forward(part, *arguments, **options)
    return checkpoint(partial(_run, part), *arguments, use_reentrant=False, **options)


def _run(part: nn.Module, *arguments, **options) -> Any:
    _inside.append(part)
    try:
        return type(part).forward(part, *arguments, **options)
    finally:
        _inside.pop()
