"""Other gates than the router's: what an audit puts in a router's place while it measures."""

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from moereg.nn.observe import Change, reroute
from moereg.nn.routing import Routing, choose


def without_expert(expert: int, gate: str) -> Change:
    """The routers choose among the other experts."""
    return lambda routing: reroute(routing, gate, without=(expert,))


def without_expert_of(expert: int, router: int, gate: str) -> Change:
    """One router of a layer chooses among the other experts, the layer's other routers as before."""
    return with_gates(router, lambda routing, r: reroute(routing, gate, without=(expert,)).gates[:, r])


def with_gates(router: int, gates: Callable[[Routing, int], Tensor]) -> Change:
    """One router of a layer decides otherwise, the others as before."""

    def change(routing: Routing) -> Routing:
        new = routing.gates.clone()
        new[:, router] = gates(routing, router)
        return replace(routing, gates=new)

    return change


def uniform_gates(routing: Routing, router: int) -> Float[Tensor, "batch expert *space"]:
    """1/N for every expert, everywhere."""
    return torch.full_like(routing.gates[:, router], 1 / len(routing.experts))


def random_gates(gate: str, generator: torch.Generator) -> Callable[[Routing, int], Tensor]:
    """Top-k of logits that have the spread of the real ones and no meaning."""

    def gates(routing: Routing, router: int) -> Float[Tensor, "batch expert *space"]:
        real = routing.logits[:, router : router + 1]
        noise = torch.randn(real.shape, generator=generator).to(real) * real.std()
        return choose(noise, routing.indices.shape[2], gate)[0][:, 0]

    return gates
