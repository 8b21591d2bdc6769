"""Compile layers and the network, compare value and gradient: `python compiled.py BACKEND` prints one line for each.

A script, because the shape checks that the tests install around every function are no part of a graph. Backend
"aot_eager" captures forward and backward as graphs and runs them without generating code, in seconds; "inductor"
generates code.
"""

import sys

import torch

from moereg.models import SHMoAReg, SHMoARegSizes
from moereg.nn import MixtureOfAttentionHeads, SpatialHeterogeneousMoE
from moereg.similarity import lncc

SMALL = {"widths": (4, 6), "decoder_widths": (4, 4), "moa_levels": (1,), "heads": 3, "active_heads": 2, "head_dim": 4}


def layer_case(layer, method="forward"):
    features = torch.randn(2, 4, 6, 5, requires_grad=True)

    def run(call):
        value, routing = call(features)
        used = [features, *layer.parameters()]
        gradients = torch.autograd.grad(value.square().sum(), used, materialize_grads=True)
        return value, routing.gates, *gradients

    return getattr(layer, method), run


def network_case():
    model = SHMoAReg(SHMoARegSizes(dims=2, **SMALL))
    moving, fixed = torch.rand(2, 2, 1, 20, 18).unbind()

    def run(call):
        registration = call(moving, fixed)
        gradients = torch.autograd.grad(lncc(registration.warped, fixed), list(model.parameters()))
        return registration.displacement, registration.warped, *gradients

    return model, run


def loss_case():
    warped, fixed = torch.rand(2, 1, 1, 20, 18).unbind()
    warped.requires_grad_()

    def run(call):
        value = call(warped, fixed)
        return value, *torch.autograd.grad(value, [warped])

    return lncc, run


CASES = {
    "shmoe-nested": lambda: layer_case(SpatialHeterogeneousMoE(4, dims=2)),
    "shmoe-full": lambda: layer_case(SpatialHeterogeneousMoE(4, dims=2, kind="full")),
    "shmoe-mixture": lambda: layer_case(SpatialHeterogeneousMoE(4, dims=2), "mixture"),
    "moa-dense": lambda: layer_case(MixtureOfAttentionHeads(4, heads=4, window=4, compute="dense")),
    "moa-sparse": lambda: layer_case(MixtureOfAttentionHeads(4, heads=4, window=4, compute="sparse")),
    "shmoareg": network_case,
    "lncc": loss_case,
}


def largest_difference(name, backend):
    """Of value and gradients, relative to the largest entry of each; `fullgraph` raises where a graph would break."""
    torch.manual_seed(0)
    call, run = CASES[name]()
    pairs = zip(run(torch.compile(call, fullgraph=True, backend=backend)), run(call), strict=True)
    return max(float((one - other).abs().max() / other.abs().max().clamp_min(1e-12)) for one, other in pairs)


if __name__ == "__main__":
    for case in CASES:
        try:
            print(case, largest_difference(case, sys.argv[1]), flush=True)
        except Exception as error:
            print(case, "failed:", str(error).strip().splitlines()[0], flush=True)
