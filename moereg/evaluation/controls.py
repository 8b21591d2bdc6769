"""Other gates than the router's: what an audit puts in a router's place while it measures."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from moereg.nn.intervene import reroute
from moereg.nn.routing import Routing, choose

Change = Callable[[Routing], Routing]


@contextmanager
def changed(changes: dict[nn.Module, Change]) -> Iterator[None]:
    """While open, each router's decision passes through its change."""
    hooks = [
        router.register_forward_hook(lambda _, __, routing, change=change: change(routing))
        for router, change in changes.items()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def without_expert(expert: int, gate: str) -> Change:
    """The routers choose among the other experts."""
    return lambda routing: reroute(routing, gate, without=(expert,))


def with_gates(router: int, gates: Callable[[Routing, int], tuple[Tensor, Tensor]]) -> Change:
    """One router of a layer decides otherwise, the others as before."""

    def change(routing: Routing) -> Routing:
        new = routing.gates.clone()
        new[:, router] = gates(routing, router)
        return Routing(routing.logits, new, routing.indices, routing.experts, routing.routers)

    return change


def uniform_gates(routing: Routing, router: int) -> Float[Tensor, "batch expert *space"]:
    """1/N for every expert, everywhere."""
    return torch.full_like(routing.gates[:, router], 1 / len(routing.experts))


def random_gates(gate: str, generator: torch.Generator) -> Callable:
    """Top-k of logits that have the spread of the real ones and no meaning."""

    def gates(routing: Routing, router: int) -> Float[Tensor, "batch expert *space"]:
        real = routing.logits[:, router : router + 1]
        noise = torch.randn(real.shape, generator=generator).to(real) * real.std()
        return choose(noise, routing.indices.shape[2], gate)[0][:, 0]

    return gates
