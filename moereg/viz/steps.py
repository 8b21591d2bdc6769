"""One decision, step by step: what the explorer's `RouterSteps` view walks through.

`router_steps` takes one voxel of one routed layer and follows it from its features to what the layer adds there. Each
step has a title, a sentence with this voxel's numbers, values to draw, and the line of the library that does it (see
`moereg.viz.quoting`). The steps of a router stand in `steps_routing`, those of the layers behind it in `steps_layers`.
"""

from typing import cast

import torch
from torch import Tensor, nn

from moereg.checks import check_choice
from moereg.data.pairs import Pair
from moereg.nn.moa import MixtureOfAttentionHeads
from moereg.nn.observe import Observation, observe
from moereg.nn.shmoe import SpatialHeterogeneousMoE
from moereg.viz.decision import Decision, coordinates
from moereg.viz.palette import expert_colours
from moereg.viz.steps_layers import moa_steps, shmoe_steps
from moereg.viz.steps_routing import routing_steps


@torch.no_grad()
def router_steps(
    model: nn.Module, pair: Pair, *, layer: str, voxel: tuple[int, ...], direction: int | str = 0, image: str = "fixed"
) -> dict:
    """Follow one voxel through the layer `layer` of `model`.

    Args:
        layer: a key of `Registration.routing`.
        voxel: in voxels of the image; the closest voxel of the layer is taken.
        direction: which router of the layer, by name or number.
        image: for an encoder layer, which of the two images' tokens.

    Returns:
        What `createSteps` of the page draws: title, experts, colours, and the steps.

    Raises:
        ValueError: a layer, voxel, direction or image that there is none of.
    """
    check_choice("image", image, ("moving", "fixed"))
    if len(voxel) != len(pair.shape) or not all(0 <= v < size for v, size in zip(voxel, pair.shape, strict=True)):
        raise ValueError(f"voxel must lie in the image, of shape {pair.shape}, got {voxel}.")
    device = next(model.parameters()).device
    moving, fixed = pair.moving[None].to(device), pair.fixed[None].to(device)
    seen = _call_of(model, moving, fixed, layer)
    routing = seen.routing
    item = 0 if len(seen.features) == 1 else ("moving", "fixed").index(image)
    router = _router(routing.routers, direction)
    place = layer_voxel(voxel, routing.stride, routing.gates.shape[3:])
    decision = Decision(seen, item, router, place)
    if isinstance(seen.layer, SpatialHeterogeneousMoE):
        own = shmoe_steps(decision, seen.layer)
    else:
        own = moa_steps(decision, cast(MixtureOfAttentionHeads, seen.layer))
    what = f"direction {routing.routers[router]}" if len(routing.routers) > 1 else f"token of the {image} image"
    return {
        "view": "steps",
        "title": f"{layer}, {what}, voxel {coordinates(voxel)}",
        "experts": list(routing.experts),
        "colours": expert_colours(routing.experts),
        "steps": [*routing_steps(decision, seen.layer), *own],
    }


def _router(routers: tuple[str, ...], direction: int | str) -> int:
    """Number of a router by its name or number."""
    known: list = list(range(len(routers)) if isinstance(direction, int) else routers)
    if direction not in known:
        raise ValueError(f"direction must be one of {known}, got {direction!r}.")
    return known.index(direction)


def layer_voxel(voxel: tuple[int, ...], stride: int, grid: tuple[int, ...]) -> tuple[int, ...]:
    """Voxel of the image -> closest voxel of a level; voxel `i` of the level sits on voxel `i * stride`."""
    return tuple(min(int(v / stride + 0.5), size - 1) for v, size in zip(voxel, grid, strict=True))


def _call_of(model: nn.Module, moving: Tensor, fixed: Tensor, layer: str) -> Observation:
    """What the routed layer of that name saw and did."""
    training = model.training
    try:
        with observe(model) as seen:
            model.eval()(moving, fixed)
    finally:
        model.train(training)
    if layer not in seen:
        raise ValueError(f"layer must be one of {sorted(seen)}, got {layer!r}.")
    return seen[layer]
