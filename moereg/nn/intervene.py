"""Change what routers decide, without changing the model: leave an expert out, another k, another temperature.

Every `Router` of a model is found by running it once; while the context `rerouted` is open, forward hooks replace what
the routers return. The weights stay as they are, and so does the model once the context is left.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from moereg.nn.routing import Router, Routing, choose

# Finite, so that 0 * log 0 never turns an entropy into NaN.
LEFT_OUT = -1e4


def find_routers(model: nn.Module, moving: Tensor, fixed: Tensor) -> dict[str, Router]:
    """Name of a routed layer, as in `Registration.routing`, -> the router that decided there.

    They are matched by the logits: the very tensor that a router returned is the one in the record.
    """
    returned: dict[int, Router] = {}
    keep = []  # alive until the comparison: a freed tensor's id may be given out again

    def remember(router: Router, _, routing: Routing) -> None:
        returned[id(routing.logits)] = router
        keep.append(routing.logits)

    hooks = [module.register_forward_hook(remember) for module in model.modules() if isinstance(module, Router)]
    try:
        with torch.no_grad():
            routing = model(moving, fixed).routing
    finally:
        for hook in hooks:
            hook.remove()
    return {name: returned[id(record.logits)] for name, record in routing.items() if id(record.logits) in returned}


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
    return Routing(logits, gates, indices, routing.experts, routing.routers)


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
    unknown = (set(without or {}) | set(k or {})) - set(routers)
    if unknown:
        raise ValueError(f"without and k must name layers among {sorted(routers)}, got {sorted(unknown)}.")

    def hook_for(name: str):
        def hook(router: Router, _, routing: Routing) -> Routing:
            return reroute(
                routing,
                router.gate,
                k=(k or {}).get(name),
                without=tuple((without or {}).get(name, ())),
                temperature=temperature,
            )

        return hook

    touched = routers if temperature != 1 else (set(without or {}) | set(k or {}))
    hooks = [routers[name].register_forward_hook(hook_for(name)) for name in touched]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
