"""Matplotlib figures of pairs, fields and routing, in the colours of the explorer.

Every function draws on axes or returns a new `Figure` made without pyplot: nothing piles up in a notebook and no
display is needed. Slices are cut across the first axis (z) unless `axis` says otherwise; images are grey, row 0 is up.
"""

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.quiver import Quiver
from torch import Tensor

from moereg.data.pairs import Pair
from moereg.models.registration import Registration
from moereg.nn.moa import MixtureOfAttentionHeads
from moereg.nn.observe import Observation
from moereg.nn.routing import Routing
from moereg.viz.palette import BETWEEN, MOTION, ON_DARK, PATCH_EDGE, expert_colours


def slice_of(values: Tensor, *, axis: int = 0, index: int | None = None) -> np.ndarray:
    """One slice of a map `(*S)`: 2-D maps as they are, 3-D ones cut across `axis`, in the middle unless told."""
    values = values.detach().cpu()
    if values.ndim == 3:
        values = values.select(axis, values.shape[axis] // 2 if index is None else index)
    return values.numpy()


def show_image(ax: Axes, image: Float[Tensor, "*space"], *, title: str = "", axis: int = 0, index: int | None = None):
    """A grey slice without ticks."""
    low, high = np.quantile(image.detach().cpu().numpy(), [0.001, 0.999])
    ax.imshow(slice_of(image, axis=axis, index=index), cmap="gray", vmin=low, vmax=max(high, low + 1e-6))
    return _plain(ax, title)


def show_grid(
    ax: Axes, displacement: Float[Tensor, "dims *space"], *, every: int = 4, axis: int = 0, index: int | None = None
):
    """Grid lines at `x + u(x)`, the part of the displacement that lies in the slice."""
    dims = len(displacement)
    kept = [d for d in range(dims) if dims == 2 or d != axis]
    row, column = (slice_of(displacement[d], axis=axis, index=index) for d in kept)
    rows, columns = np.mgrid[: row.shape[0], : row.shape[1]]
    y, x = rows + row, columns + column
    style = {"color": MOTION, "linewidth": 0.7}
    ax.plot(x[::every].T, y[::every].T, **style)
    ax.plot(x[:, ::every], y[:, ::every], **style)
    return ax


def show_arrows(
    ax: Axes, displacement: Float[Tensor, "dims *space"], *, every: int = 4, axis: int = 0, index: int | None = None
):
    """Arrows from `x` to `x + u(x)` at every few voxels, the part of the displacement that lies in the slice."""
    dims = len(displacement)
    kept = [d for d in range(dims) if dims == 2 or d != axis]
    row, column = (slice_of(displacement[d], axis=axis, index=index) for d in kept)
    at = np.mgrid[every // 2 : row.shape[0] : every, every // 2 : row.shape[1] : every]
    chosen = (at[0], at[1])
    ax.quiver(
        at[1], at[0], column[chosen], row[chosen], color=MOTION, angles="xy", scale_units="xy", scale=1, width=0.006
    )
    return ax


def show_lengths(
    ax: Axes, displacement: Float[Tensor, "dims *space"], *, longest: float, every: int = 4, stretch: float = 1.0
) -> Quiver:
    """Arrows of a 2-D field, coloured by their length in voxels from 0 to `longest`: a mappable for a colour bar.

    They are drawn `stretch` times as long as they are, the colours are of the true lengths.
    """
    u = displacement.detach().cpu()
    at = np.mgrid[every // 2 : u.shape[1] : every, every // 2 : u.shape[2] : every]
    down, right = u[:, at[0], at[1]].numpy()
    length = np.hypot(down, right)
    style = {"angles": "xy", "scale_units": "xy", "scale": 1 / stretch, "width": 0.008, "cmap": "cool"}
    return ax.quiver(at[1], at[0], right, down, length, clim=(0, longest), **style)


def show_experts(
    ax: Axes,
    routing: Routing,
    *,
    router: int = 0,
    item: int = 0,
    axis: int = 0,
    index: int | None = None,
    title: str = "",
):
    """Map of the expert with the largest gate, one colour per expert. `index` counts slices of the layer's grid."""
    colours = expert_colours(routing.experts)
    first = slice_of(routing.first()[item, router], axis=axis, index=index)
    ax.imshow(first, cmap=ListedColormap(colours), vmin=-0.5, vmax=len(colours) - 0.5, interpolation="nearest")
    return _plain(ax, title)


def show_load(ax: Axes, routing: Routing, *, title: str = ""):
    """Share of assignments of each expert, one stacked bar per router."""
    colours, load = expert_colours(routing.experts), routing.load().detach().cpu().numpy()
    left = np.zeros(len(load))
    for expert, colour in enumerate(colours):
        ax.barh(routing.routers, load[:, expert], left=left, color=colour, edgecolor=BETWEEN, linewidth=0.5)
        left += load[:, expert]
    ax.set_xlim(0, 1)
    ax.invert_yaxis()
    ax.set_title(title, fontsize=9, loc="left")
    return ax


def expert_legend(figure: Figure, experts: Sequence[str], **places) -> None:
    """A legend of the experts' colours below a figure."""
    handles = [
        Patch(facecolor=colour, edgecolor=PATCH_EDGE, label=name)
        for name, colour in zip(experts, expert_colours(experts), strict=True)
    ]
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False, **places)


@torch.no_grad()
def overview(pair: Pair, result: Registration, *, axis: int = 0, index: int | None = None) -> tuple[Figure, str]:
    """Fixed, moving, warped with the deformed grid, and the first expert of every direction of the finest routed layer.

    Returns:
        The figure and a sentence that says what is on it, for people who do not see it.
    """
    names = sorted(name for name, routing in result.routing.items() if routing.proposals is not None)
    names = names or sorted(result.routing)
    maps = len(result.routing[names[0]].routers) if names else 0
    figure = Figure(figsize=(2.3 * (3 + maps), 2.9), dpi=90, facecolor="white", layout="constrained")
    axes = figure.subplots(1, 3 + maps)
    show_image(axes[0], pair.fixed[0], title="fixed", axis=axis, index=index)
    show_image(axes[1], pair.moving[0], title="moving", axis=axis, index=index)
    show_image(axes[2], result.warped[0, 0], title="warped, with its grid", axis=axis, index=index)
    show_grid(axes[2], result.displacement[0], axis=axis, index=index)
    _clip(axes[2], pair.shape, axis)
    text = f"Fixed, moving and warped slice of {pair.name or 'a pair'}, the warped one with the deformed grid"
    if names:
        routing = result.routing[names[0]]
        level = None if index is None else _on_level(index, axis, pair.shape, routing)
        for router, name in enumerate(routing.routers):
            title = f"first expert, {name}"
            show_experts(axes[3 + router], routing, router=router, axis=axis, index=level, title=title)
        figure.set_layout_engine("constrained", rect=(0, 0.1, 1, 0.9))
        expert_legend(figure, routing.experts, fontsize=9)
        load = routing.load().mean(0)
        shares = ", ".join(f"{name} {share:.0%}" for name, share in zip(routing.experts, load.tolist(), strict=True))
        text += f"; maps of the first expert in {names[0]} for {', '.join(routing.routers)}. Mean load: {shares}"
    return figure, text + "."


@torch.no_grad()
def heads_at(pair: Pair, seen: Observation, voxel: Sequence[int]) -> tuple[Figure, str]:
    """The fixed image with one token, and where each head of an attention layer looks from there; of volumes its slice.

    Args:
        seen: what a `MixtureOfAttentionHeads` saw and did; of a batch of two the fixed image is the second.
        voxel: of the image; the token that holds it is asked.

    Returns:
        The figure, titles with each head's gate, and a sentence for people who do not see it.
    """
    routing, last = seen.routing, slice(len(seen.features) - 1, None)
    place = tuple(v // routing.stride for v in voxel)
    context = None if seen.context is None else seen.context[last]
    looks = cast(MixtureOfAttentionHeads, seen.layer).attention_from(seen.features[last], place, context)
    gates, columns = routing.gates[(-1, 0, slice(None), *place)], -(-len(looks) // 2)
    figure = Figure(figsize=(2.6 + 1.9 * columns, 4.1), dpi=90, facecolor="white", layout="constrained")
    left, right = cast(np.ndarray, figure.subfigures(1, 2, width_ratios=(2.6, 1.9 * columns)))
    ax = show_image(left.subplots(), pair.fixed[0], title=f"token at {tuple(voxel)}", index=voxel[0])
    ax.plot(voxel[-1], voxel[-2], "o", color=MOTION, markersize=5)
    axes = right.subplots(2, columns, squeeze=False).flat
    style = {"cmap": "magma", "vmin": 0, "vmax": float(looks.max())}
    for name, look, gate, ax in zip(routing.experts, looks, gates.tolist(), axes, strict=False):
        drawn = ax.imshow(slice_of(look, index=place[0]), interpolation="nearest", **style)
        ax.plot(place[-1], place[-2], "+", color=ON_DARK)
        _plain(ax, f"{name}, gate {gate:.2f}")
    for ax in list(axes):  # those that no head has taken
        ax.set_axis_off()
    right.colorbar(drawn, ax=right.axes, label="weight", shrink=0.8)
    most = ", ".join(f"{name} {float(look.max()):.0%}" for name, look in zip(routing.experts, looks, strict=True))
    text = f"Fixed slice of {pair.name or 'a pair'} with the token at {tuple(voxel)}, and where every head of "
    return figure, text + f"{routing.name} looks from there. The most that each gives to one token: {most}."


def _plain(ax: Axes, title: str) -> Axes:
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_title(title, fontsize=9)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax


def _clip(ax: Axes, shape: tuple[int, ...], axis: int) -> None:
    rows, columns = (size for d, size in enumerate(shape) if len(shape) == 2 or d != axis)
    ax.set_xlim(-0.5, columns - 0.5)
    ax.set_ylim(rows - 0.5, -0.5)


def _on_level(index: int, axis: int, shape: tuple[int, ...], routing: Routing) -> int | None:
    if len(shape) == 2:
        return None
    grid = routing.gates.shape[3:]
    return min(round(index * grid[axis] / shape[axis]), grid[axis] - 1)
