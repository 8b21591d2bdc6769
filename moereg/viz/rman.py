"""Figures of RMAn: where a voxel of one image looks in the other, with buttons to choose it; what recursions bring."""

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from moereg.data.pairs import Pair
from moereg.fields import sample
from moereg.models import RecursiveRegistration
from moereg.viz.figures import show_image, slice_of
from moereg.viz.palette import CHOSEN, CONTROL
from moereg.viz.style import STYLES, heading, key_below, line_over_seeds


def draw_attention(
    pair: Pair,
    registration: RecursiveRegistration,
    voxel: tuple[int, ...],
    *,
    recursions: tuple[int, ...] = (1,),
    module: int = 1,
) -> Figure:
    """The chosen voxel of the fixed image, then for each recursion the moving image as warped so far with the attention
    of the voxel, mean over heads, as a map over it. The cross stands where the true tissue is, where that is known.

    3-D images are cut across the first axis: the fixed one at the voxel, the moving one where most attention is.
    """
    figure = Figure(figsize=(2.5 * (1 + len(recursions)), 2.9), dpi=110, facecolor="white", layout="constrained")
    axes = figure.subplots(1, 1 + len(recursions), squeeze=False)[0]
    flat = len(voxel) == 2
    index = None if flat else voxel[0]
    show_image(axes[0], pair.fixed[0], title=f"fixed, voxel {tuple(voxel)}", index=index)
    axes[0].plot(voxel[-1], voxel[-2], "o", color=CHOSEN, markersize=9, fillstyle="none", markeredgewidth=2.5)
    for ax, recursion in zip(axes[1:], recursions, strict=True):
        weights = registration.attention_of(voxel, recursion=recursion, module=module).mean(0)
        before = registration.steps[recursion - 2] if recursion > 1 else torch.zeros_like(registration.displacement)
        warped = sample(pair.moving[None], before[:1])[0, 0]
        cut = behind = None
        if not flat:
            cut = int(weights.flatten(1).sum(1).argmax())
            behind = min(cut * RecursiveRegistration.strides[module], pair.shape[0] - 1)
        show_image(ax, warped, title=f"moving, recursion {recursion}", index=behind)
        half = RecursiveRegistration.strides[module] / 2  # token i covers the voxels around stride * i
        rows, columns = weights.shape[-2:]
        extent = (-half, (columns - 0.5) * 2 * half, (rows - 0.5) * 2 * half, -half)
        limits = ax.get_xlim(), ax.get_ylim()
        ax.imshow(slice_of(weights, index=cut), cmap="inferno", alpha=0.65, extent=extent, interpolation="nearest")
        target = None if pair.displacement is None else _target(pair, before[0], voxel)
        if target is not None:
            ax.plot(target[-1], target[-2], "+", color=CHOSEN, markersize=14, markeredgewidth=2.5)
        ax.set_xlim(limits[0])
        ax.set_ylim(limits[1])
    return figure


def _target(pair: Pair, before: Float[Tensor, "dims *space"], voxel: tuple[int, ...]) -> list[float]:
    """Where the tissue of a fixed voxel stands in the moving image as warped by `before`.

    That is y with y + before(y) = x + u(x), by the fixed point `y <- x + u(x) - before(y)`, as in `fields.invert`.
    """
    place = (slice(None), *voxel)
    wanted = torch.tensor(voxel, dtype=before.dtype) + pair.require("displacement")[place]
    y = wanted.clone()
    for _ in range(20):
        nearest = [int(v.round().clamp(0, n - 1)) for v, n in zip(y, pair.shape, strict=True)]
        y = wanted - before[(slice(None), *nearest)]
    return y.tolist()


def attention_picker(pair: Pair, registration: RecursiveRegistration, *, module: int = 1, start: tuple[int, int]):
    """Buttons for the tokens of a 2-D fixed image, as grey as the image there; a click draws `draw_attention`.

    Works with the keyboard too (tab and space). Returns an ipywidgets box.
    """
    from IPython.display import display
    from ipywidgets import Button, GridBox, HBox, Layout, Output

    stride = RecursiveRegistration.strides[module]
    rows, columns = registration.looks[0][module].fixed.shape[2:]
    picture, buttons = Output(), []
    recursions = tuple(range(1, len(registration.steps) + 1))

    def show(row: int, column: int) -> None:
        voxel = tuple(min(stride * i, n - 1) for i, n in zip((row, column), pair.shape, strict=True))
        picture.clear_output(wait=True)
        with picture:
            display(draw_attention(pair, registration, voxel, recursions=recursions, module=module))

    for row in range(rows):
        for column in range(columns):
            place = tuple(slice(max(0, stride * i - stride // 2), stride * i + stride // 2) for i in (row, column))
            level = round(255 * float(pair.fixed[0][place].mean().clamp(0, 1)))
            button = Button(
                tooltip=f"voxel ({stride * row}, {stride * column})", layout=Layout(width="26px", height="26px")
            )
            button.style.button_color = f"rgb({level},{level},{level})"
            button.on_click(lambda _, row=row, column=column: show(row, column))
            buttons.append(button)
    show(*(v // stride for v in start))
    grid = GridBox(buttons, layout=Layout(grid_template_columns=f"repeat({columns}, 28px)", width="max-content"))
    return HBox([grid, picture])


def draw_recursions(rows: list[dict]) -> Figure:
    """Dice, surface distance, endpoint error and folds against recursions: a column per K_train, a line per attention,
    seeds as dots."""
    trained = sorted({row["trained"] for row in rows})
    kinds = list(dict.fromkeys(row["attention"] for row in rows))
    measures = {
        "dice": "Dice",
        "asd": "surface distance, mm",
        "epe": "endpoint error, voxels",
        "fold_fraction": "share of folds",
    }
    figure = Figure(figsize=(2.4 * len(trained) + 0.9, 7.6), layout="constrained")
    grid = figure.subplots(len(measures), len(trained), sharex=True, sharey="row", squeeze=False)
    for column, number in enumerate(trained):
        for axes, key in zip(grid[:, column], measures, strict=True):
            for kind, style in zip(kinds, STYLES, strict=False):
                own = [row for row in rows if (row["trained"], row["attention"]) == (number, kind)]
                if own:
                    label = f"{kind} attention" if kind != "none" else "none"
                    line_over_seeds(axes, own, "recursions", key, style, label=label)
            axes.axvline(number, color=CONTROL, linewidth=6, alpha=0.2)
            axes.set_xticks(sorted({row["recursions"] for row in rows}))
        heading(grid[0, column], f"trained with {number}")
        grid[-1, column].set_xlabel("recursions")
    for axes, name in zip(grid[:, 0], measures.values(), strict=True):
        axes.set_ylabel(name)
    key_below(figure)
    return figure
