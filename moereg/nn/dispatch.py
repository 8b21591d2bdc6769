"""Matrix products in which every row has its own matrix, the one of the expert that a router chose for it.

    to_experts      out[p, j] = rows[p] W[i],         i = chosen[p, j]        a token goes to its k experts
    from_experts    out[p]    = sum_j rows[p, j] W[i]                         their k answers come back, added up

Each is the other's transpose, so each is the other's backward pass, with `W` transposed. The rows of one expert are
gathered, multiplied, and put where they belong before the next expert's turn: a block of rows that fits into the
processor's cache, and never k copies of all rows.

They are registered as operators of torch, because the size of each block depends on data: `torch.compile` takes an
operator as a whole and does not ask.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Assignment(NamedTuple):
    """Which experts each row goes to."""

    chosen: Int[Tensor, "row k"]  # indices of experts
    order: Int[Tensor, " assignment"]  # places in `chosen.flatten()`, sorted by expert

    @classmethod
    def of(cls, chosen: Int[Tensor, "row k"]) -> "Assignment":
        """Sort the assignments by expert; rows of one expert keep their order."""
        return cls(chosen, chosen.flatten().argsort(stable=True))


def to_experts(
    rows: Float[Tensor, "row a"], weights: Float[Tensor, "expert a b"], assignment: Assignment
) -> Float[Tensor, "row k b"]:
    """`out[p, j] = rows[p] @ weights[chosen[p, j]]`"""
    return _to_experts(*_autocast(rows, weights), *assignment)


def from_experts(
    rows: Float[Tensor, "row k a"], weights: Float[Tensor, "expert a b"], assignment: Assignment
) -> Float[Tensor, "row b"]:
    """`out[p] = sum_j rows[p, j] @ weights[chosen[p, j]]`"""
    return _from_experts(*_autocast(rows, weights), *assignment)


@torch.library.custom_op("moereg::to_experts", mutates_args=())
def _to_experts(rows: Tensor, weights: Tensor, chosen: Tensor, order: Tensor) -> Tensor:
    out = rows.new_empty(order.numel(), weights.shape[2])  # sorted by expert
    blocks = _blocks(chosen, order, len(weights))
    for places, weight, block in zip(blocks, weights, out.split([len(b) for b in blocks]), strict=True):
        torch.mm(rows.index_select(0, places // chosen.shape[1]), weight, out=block)
    back = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    return out.index_select(0, back).view(*chosen.shape, -1)


@torch.library.custom_op("moereg::from_experts", mutates_args=())
def _from_experts(rows: Tensor, weights: Tensor, chosen: Tensor, order: Tensor) -> Tensor:
    out = rows.new_zeros(len(chosen), weights.shape[2])
    flat = rows.flatten(0, 1)
    for places, weight in zip(_blocks(chosen, order, len(weights)), weights, strict=True):
        out.index_add_(0, places // chosen.shape[1], flat.index_select(0, places) @ weight)
    return out


@torch.library.custom_op("moereg::sum_of_outer_products", mutates_args=())
def _outer(rows: Tensor, answers: Tensor, chosen: Tensor, order: Tensor, experts: int) -> Tensor:
    """`out[i] = sum over (p, j) with chosen[p, j] = i of rows[p] answers[p, j]^T`: the gradient of the weights."""
    out = rows.new_empty(experts, rows.shape[1], answers.shape[2])
    flat = answers.flatten(0, 1)
    for expert, places in enumerate(_blocks(chosen, order, experts)):
        torch.mm(rows.index_select(0, places // chosen.shape[1]).T, flat.index_select(0, places), out=out[expert])
    return out


def _blocks(chosen: Tensor, order: Tensor, experts: int) -> tuple[Tensor, ...]:
    return order.split(chosen.flatten().bincount(minlength=experts).tolist())


def _autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    # What torch does for its own matrix products.
    kind = tensors[0].device.type
    if not torch.is_autocast_enabled(kind):
        return tensors
    dtype = torch.get_autocast_dtype(kind)
    return tuple(tensor if tensor.dtype == torch.float64 else tensor.to(dtype) for tensor in tensors)


@_to_experts.register_fake
def _(rows: Tensor, weights: Tensor, chosen: Tensor, order: Tensor) -> Tensor:
    return rows.new_empty(*chosen.shape, weights.shape[2])


@_from_experts.register_fake
def _(rows: Tensor, weights: Tensor, chosen: Tensor, order: Tensor) -> Tensor:
    return rows.new_empty(len(chosen), weights.shape[2])


@_outer.register_fake
def _(rows: Tensor, answers: Tensor, chosen: Tensor, order: Tensor, experts: int) -> Tensor:
    return rows.new_empty(experts, rows.shape[1], answers.shape[2])


def _save(ctx, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _to_experts_backward(ctx, gradient: Tensor):
    rows, weights, chosen, order = ctx.saved_tensors
    to_rows = _from_experts(gradient, weights.mT, chosen, order) if ctx.needs_input_grad[0] else None
    to_weights = _outer(rows, gradient, chosen, order, len(weights)) if ctx.needs_input_grad[1] else None
    return to_rows, to_weights, None, None


def _from_experts_backward(ctx, gradient: Tensor):
    rows, weights, chosen, order = ctx.saved_tensors
    to_rows = _to_experts(gradient, weights.mT, chosen, order) if ctx.needs_input_grad[0] else None
    to_weights = _outer(gradient, rows, chosen, order, len(weights)).mT if ctx.needs_input_grad[1] else None
    return to_rows, to_weights, None, None


_to_experts.register_autograd(_to_experts_backward, setup_context=_save)
_from_experts.register_autograd(_from_experts_backward, setup_context=_save)
