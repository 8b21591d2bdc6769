"""Gate and sum: `y_r(x) = sum_e g_{r,e}(x) E_e(x)` for several routers r over the same experts e.

`mix_reference` is the line as one writes it, differentiated by autograd, which makes a map of all channels for every
product of gate and expert, forward and backward. `mix` does the same in slabs that stay in the processor's cache: an
expert's slab is read once for all routers, and nothing but the result is ever as large as a map. A compiler that
fuses loops does so by itself, so inside `torch.compile` `mix` is the plain line.
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

_SLAB = 2**18  # values of one expert that are worked on at a time: 1 MB


def mix_reference(
    gates: Float[Tensor, "batch router expert *space"], experts: Sequence[Float[Tensor, "batch channel *space"]]
) -> Float[Tensor, "batch router channel *space"]:
    """The definition."""
    return sum(gates[:, :, e, None] * expert[:, None] for e, expert in enumerate(experts))


def mix(
    gates: Float[Tensor, "batch router expert *space"], experts: Sequence[Float[Tensor, "batch channel *space"]]
) -> Float[Tensor, "batch router channel *space"]:
    """`mix_reference`, its value and gradient, with less memory and in less time."""
    gates = gates.to(experts[0].dtype)
    if torch.compiler.is_compiling():
        return mix_reference(gates, experts)
    return _Mix.apply(gates, *experts)


class _Mix(torch.autograd.Function):
    """With `G_r` the gradient of `y_r`:  dE_e = sum_r g_{r,e} G_r,   dg_{r,e} = sum over channels of G_r E_e."""

    @staticmethod
    def forward(ctx, gates: Tensor, *experts: Tensor) -> Tensor:
        ctx.save_for_backward(gates, *experts)
        routers = gates.shape[1]
        mixed = _stack_of_empty(experts[0], routers)
        for slab in _slabs(experts[0]):
            parts = [expert[:, :, slab] for expert in experts]
            for r in range(routers):
                _gated_sum(gates[:, r, :, slab].unbind(1), parts, mixed[:, r, :, slab])
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        gates, *experts = ctx.saved_tensors
        if not experts[0].is_contiguous():
            gradient = _stack_of_empty(experts[0], gates.shape[1]).copy_(gradient)
        to_gates = torch.empty_like(gates)
        to_experts = [torch.empty_like(expert) for expert in experts]
        for slab in _slabs(experts[0]):
            gradients = [g[:, :, slab] for g in gradient.unbind(1)]
            for e, expert in enumerate(experts):
                _gated_sum([g[:, e, slab] for g in gates.unbind(1)], gradients, to_experts[e][:, :, slab])
                for r, g in enumerate(gradients):
                    torch.sum(g * expert[:, :, slab], 1, out=to_gates[:, r, e, slab])
        return to_gates, *to_experts


def _gated_sum(gates: Sequence[Tensor], maps: Sequence[Tensor], out: Tensor) -> None:
    """`out = sum_i gates_i maps_i`; a gate `(B, *S)` has one value for all channels of a map `(B, C, *S)`."""
    torch.mul(gates[0].unsqueeze(1), maps[0], out=out)
    for gate, values in zip(gates[1:], maps[1:], strict=True):
        out.addcmul_(gate.unsqueeze(1), values)


def _slabs(like: Tensor) -> Iterator[slice]:
    """Ranges of the first spatial axis of `(B, C, *S)`; one range where memory is fast and starting work is not."""
    size = like.shape[2]
    thickness = max(1, _SLAB * size // like.numel()) if like.device.type == "cpu" else size
    return (slice(start, start + thickness) for start in range(0, size, thickness))


def _stack_of_empty(like: Tensor, count: int) -> Tensor:
    """`(B, count, *like.shape[1:])`, channels last where `like` is."""
    batch, channels, *space = like.shape
    if like.is_contiguous():
        return like.new_empty(batch, count, channels, *space)
    return like.new_empty(batch, count, *space, channels).movedim(-1, 2)
