"""Gate and sum in slabs, against the plain line."""

import pytest
import torch

from moereg.nn import mixing

SHAPES = [(9, 7), (7, 5, 6)]


def gates_and_experts(shape, generator, *, routers=3):
    gates = torch.rand(2, routers, 4, *shape, generator=generator, dtype=torch.float64, requires_grad=True)
    maps = [torch.randn(2, 5, *shape, generator=generator, dtype=torch.float64) for _ in range(4)]
    return gates, maps


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("routers", [1, 3])
@pytest.mark.parametrize("slab", [1, 200, 2**16])
@pytest.mark.parametrize("channels_last", [False, True])
def test_value_and_gradient_equal_the_definition(shape, routers, slab, channels_last, generator, monkeypatch):
    """Slabs of one row, of several (the last one thinner), and the whole map at once."""
    monkeypatch.setattr(mixing, "_SLAB", slab)
    gates, experts = gates_and_experts(shape, generator, routers=routers)
    if channels_last:
        layout = torch.channels_last if len(shape) == 2 else torch.channels_last_3d
        experts = [expert.contiguous(memory_format=layout) for expert in experts]
    leaves = [gates, *(expert.requires_grad_() for expert in experts)]
    results = []
    for function in (mixing.mix, mixing.mix_reference):
        mixed = function(gates, experts)
        results.append((mixed, *torch.autograd.grad(mixed.square().sum(), leaves)))
    for ours, reference in zip(*results, strict=True):
        torch.testing.assert_close(ours, reference)


def test_one_expert_with_gates_of_one_is_that_expert(generator):
    expert = torch.randn(1, 3, 4, 4, generator=generator)
    mixed = mixing.mix(torch.ones(1, 2, 1, 4, 4), [expert])
    assert torch.equal(mixed, expert[:, None].expand(-1, 2, -1, -1, -1))


def test_gates_in_float32_meet_experts_in_bfloat16(generator):
    gates, experts = gates_and_experts((6, 5), generator)
    low = mixing.mix(gates.float(), [expert.bfloat16() for expert in experts])
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.double(), mixing.mix(gates, experts), rtol=0.05, atol=0.05)
