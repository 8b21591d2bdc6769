"""Look into a network while it runs, and change what its routers decide, without changing the network.

`observe(model)` records what every routed layer saw and did. `intervene(changes)` lets each router's decision pass
through a change; `rerouted` is the usual one: leave experts out, another k, another temperature. Routers are known by
the name of their site, which is the key of their layer in `Registration.routing`. The weights stay as they are, and so
does the model once a context is left.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from moereg.nn.routing import Router, Routing, choose

# Finite, so that 0 * log 0 never turns an entropy into NaN.
LEFT_OUT = -1e4

Change = Callable[[Routing], Routing]


@dataclass(frozen=True)
class Observation:
    """One routed layer in the last forward pass."""

    layer: nn.Module  # a mixture of heads or of convolutions
    inputs: tuple[Tensor | None, ...]  # what `layer` was called with
    output: Tensor
    routing: Routing

    @property
    def router(self) -> Router:
        """Who decided."""
        return cast(Router, self.layer.router)

    @property
    def features(self) -> Tensor:
        """What was routed, `(B, C, *S)`."""
        return cast(Tensor, self.inputs[0])

    @property
    def context(self) -> Tensor | None:
        """Where keys and values came from, if not from the features."""
        return self.inputs[1] if len(self.inputs) > 1 else None


def find_routers(model: nn.Module) -> dict[str, Router]:
    """Name of a routed layer, as in `Registration.routing`, -> the router that decides there.

    Routers without a site are left out: nothing in a result could be told to be theirs.
    """
    return {m.site.name: m for m in model.modules() if isinstance(m, Router) and m.site.name}


@contextmanager
def observe(model: nn.Module) -> Iterator[dict[str, Observation]]:
    """While open, remember what every routed layer saw and did, by name; of several passes the last.

    A routed layer is a module with a `router` whose result is `(output, routing)`.
    """
    seen: dict[str, Observation] = {}

    def remember(layer: nn.Module, inputs: tuple, result: tuple[Tensor, Routing]) -> None:
        output, routing = result
        seen[routing.name] = Observation(layer, inputs, output, routing)

    layers = [module for module in model.modules() if isinstance(getattr(module, "router", None), Router)]
    hooks = [layer.register_forward_hook(remember) for layer in layers]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def intervene(changes: dict[Router, Change]) -> Iterator[None]:
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


def reroute(
    routing: Routing, gate: str, *, k: int | None = None, without: tuple[int, ...] = (), temperature: float = 1.0
) -> Routing:
    """The decision a router would have made with k experts, without some of them, or at another softmax temperature."""
    experts = len(routing.experts)
    if len(set(without)) >= experts:
        raise ValueError(f"without must leave at least one of the {experts} experts, got {sorted(set(without))}.")
    if not temperature > 0:
        raise ValueError(f"temperature must be above zero, got {temperature}.")
    logits = routing.logits / temperature
    if without:
        logits = logits.index_fill(2, torch.tensor(sorted(set(without)), device=logits.device), LEFT_OUT)
    left = experts - len(set(without))
    k = left if gate in ("soft", "uniform") else min(k or routing.indices.shape[2], left)
    gates, indices = choose(logits, k, gate)
    if gate == "uniform":
        gates = gates * (experts / left)  # equal shares of those that are left
    return replace(routing, logits=logits, gates=gates, indices=indices)


@contextmanager
def rerouted(
    routers: dict[str, Router],
    *,
    without: dict[str, tuple[int, ...]] | None = None,
    k: dict[str, int] | None = None,
    temperature: float = 1.0,
) -> Iterator[None]:
    """While open, every router decides as `reroute` says.

    Args:
        routers: from `find_routers`.
        without: layer name -> indices of experts left out there.
        k: layer name -> how many experts are chosen there.
        temperature: logits are divided by it, in every layer.
    """
    without, k = without or {}, k or {}
    unknown = {*without, *k} - set(routers)
    if unknown:
        raise ValueError(f"without and k must name layers among {sorted(routers)}, got {sorted(unknown)}.")

    def change_of(name: str) -> Change:
        options = {"k": k.get(name), "without": tuple(without.get(name, ())), "temperature": temperature}
        return lambda routing: reroute(routing, routers[name].gate, **options)

    touched = routers if temperature != 1 else {*without, *k}
    with intervene({routers[name]: change_of(name) for name in touched}):
        yield
