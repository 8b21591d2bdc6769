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
    """Which rows each expert gets: the pairs of row `p` and rank `j`, sorted by expert."""

    order: Int[Tensor, " pair"]  # places in the table of choices `(row, k)`, row by row
    row: Int[Tensor, " pair"]
    counts: Int[Tensor, " expert"]

    @classmethod
    def of(cls, chosen: Int[Tensor, "row k"], experts: int) -> "Assignment":
        """Sort the choices by expert; rows of one expert keep their order."""
        flat = chosen.flatten()
        order = flat.argsort(stable=True)
        # bincount, but of a size that does not depend on the data, as compilers want it.
        counts = flat.new_zeros(experts).scatter_add_(0, flat, torch.ones_like(flat))
        return cls(order, order // chosen.shape[1], counts)


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
def _to_experts(rows: Tensor, weights: Tensor, order: Tensor, row: Tensor, counts: Tensor) -> Tensor:
    out = rows.new_empty(order.numel(), weights.shape[2])  # sorted by expert
    sizes = counts.tolist()
    for places, weight, block in zip(row.split(sizes), weights, out.split(sizes), strict=True):
        torch.mm(rows.index_select(0, places), weight, out=block)
    back = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    return out.index_select(0, back).view(len(rows), -1, weights.shape[2])


@torch.library.custom_op("moereg::from_experts", mutates_args=())
def _from_experts(rows: Tensor, weights: Tensor, order: Tensor, row: Tensor, counts: Tensor) -> Tensor:
    answers, sizes = rows.new_empty(order.numel(), weights.shape[2]), counts.tolist()
    sorted_rows = rows.flatten(0, 1).index_select(0, order)
    for block, weight, answer in zip(sorted_rows.split(sizes), weights, answers.split(sizes), strict=True):
        torch.mm(block, weight, out=answer)
    back = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    return torch.nn.functional.embedding_bag(back.view(len(rows), -1), answers, mode="sum")


@torch.library.custom_op("moereg::outer_products", mutates_args=())
def _outer(rows: Tensor, answers: Tensor, order: Tensor, row: Tensor, counts: Tensor) -> Tensor:
    """`out[i] = sum of rows[p] answers[p, j]^T over (p, j) that chose i`: the gradient of the weights."""
    out = rows.new_empty(len(counts), rows.shape[1], answers.shape[2])
    sorted_answers, sizes = answers.flatten(0, 1).index_select(0, order), counts.tolist()
    for places, block, product in zip(row.split(sizes), sorted_answers.split(sizes), out, strict=True):
        torch.mm(rows.index_select(0, places).T, block, out=product)
    return out


def _autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    # What torch does for its own matrix products.
    kind = tensors[0].device.type
    if not torch.is_autocast_enabled(kind):
        return tensors
    dtype = torch.get_autocast_dtype(kind)
    return tuple(tensor if tensor.dtype == torch.float64 else tensor.to(dtype) for tensor in tensors)


@_to_experts.register_fake
def _(rows: Tensor, weights: Tensor, order: Tensor, row: Tensor, counts: Tensor) -> Tensor:
    return rows.new_empty(len(rows), len(order) // len(rows), weights.shape[2])


@_from_experts.register_fake
def _(rows: Tensor, weights: Tensor, order: Tensor, row: Tensor, counts: Tensor) -> Tensor:
    return rows.new_empty(len(rows), weights.shape[2])


@_outer.register_fake
def _(rows: Tensor, answers: Tensor, order: Tensor, row: Tensor, counts: Tensor) -> Tensor:
    return rows.new_empty(len(counts), rows.shape[1], answers.shape[2])


def _save(ctx, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _to_experts_backward(ctx, gradient: Tensor):
    rows, weights, *assignment = ctx.saved_tensors
    to_rows = _from_experts(gradient, weights.mT, *assignment) if ctx.needs_input_grad[0] else None
    to_weights = _outer(rows, gradient, *assignment) if ctx.needs_input_grad[1] else None
    return to_rows, to_weights, None, None, None


def _from_experts_backward(ctx, gradient: Tensor):
    rows, weights, *assignment = ctx.saved_tensors
    to_rows = _to_experts(gradient, weights.mT, *assignment) if ctx.needs_input_grad[0] else None
    to_weights = _outer(gradient, rows, *assignment).mT if ctx.needs_input_grad[1] else None
    return to_rows, to_weights, None, None, None


_to_experts.register_autograd(_to_experts_backward, setup_context=_save)
_from_experts.register_autograd(_from_experts_backward, setup_context=_save)
