"""What a clinician looks at first: checkerboard, difference, deformed grid, local change of volume.

Slices are shown as radiologists hang them: head or front up, the patient's right at the left edge, front at the left of
a sagittal slice. Tensor axes are canonical (foot to head, back to front, left to right), voxels keep their proportions.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from moereg.fields import jacobian_determinant
from moereg.viz.figures import show_grid, slice_of
from moereg.viz.palette import FOLDED

PLANES = ("axial", "coronal", "sagittal")  # cut across tensor axis 0, 1, 2
TILES, LINES = 8, 20  # squares of the checkerboard, lines of the grid along the longest side


@dataclass(frozen=True)
class Picture:
    """A figure of a report."""

    title: str
    caption: str
    src: str  # data of a PNG
    alt: str


def clinical_pictures(
    fixed: Float[Tensor, "1 *space"],
    aligned: Float[Tensor, "1 *space"],
    warped: Float[Tensor, "1 *space"],
    displacement: Float[Tensor, "dims *space"],
    spacing: Sequence[float],
) -> list[Picture]:
    """The four pictures of a registration, one row for each plane.

    Args:
        fixed, aligned, warped: images between 0 and 1 on one grid: the fixed one, the moving one after the linear
            alignment, and after the deformation.
        displacement: the deformation, in voxels.
        spacing: millimetres along the tensor's axes.
    """
    pairs = {"before the deformation": aligned, "after": warped}
    boards = {name: checkerboard(fixed[0], image[0]) for name, image in pairs.items()}
    differences = {name: image[0] - fixed[0] for name, image in pairs.items()}
    determinant = jacobian_determinant(displacement[None])[0, 0]
    cuts = _cuts(fixed[0])
    grey, signed = {"cmap": "gray", "vmin": 0, "vmax": 1}, {"cmap": "RdBu_r", "vmin": -1, "vmax": 1}
    folds = float((determinant <= 0).double().mean())
    return [
        _picture(
            _panels(boards, cuts, spacing, grey),
            "Checkerboard",
            "Squares of the fixed image and of the moving one by turns. Edges should run on from square to square.",
        ),
        _picture(
            _panels(differences, cuts, spacing, signed, bar="moving minus fixed"),
            "Difference",
            "Moving minus fixed, both scaled from 0 to 1. White is equal; what is left after the deformation is not.",
        ),
        _picture(
            _grids(aligned[0], displacement, cuts, spacing),
            "Deformed grid",
            "The fixed image's grid where it is read in the aligned moving image. Lines that cross are folds.",
        ),
        _picture(
            _volume_change(determinant, cuts, spacing),
            "Local change of volume",
            "Jacobian determinant of the deformation, without the linear part: above 1 the moving image was larger "
            f"there. Folded: {100 * folds:.3f} % of voxels, coloured.",
        ),
    ]


def checkerboard(first: Float[Tensor, "*space"], second: Float[Tensor, "*space"], tiles: int = TILES) -> Tensor:
    """`first` where the sum of tile numbers is even, else `second`; about `tiles` along the longest axis."""
    edge = max(max(first.shape) // tiles, 1)
    number = torch.zeros(first.shape, dtype=torch.int64)
    for axis, size in enumerate(first.shape):
        number += (torch.arange(size) // edge).view(-1, *[1] * (first.ndim - 1 - axis))
    return torch.where(number % 2 == 0, first, second)


def _cuts(image: Tensor) -> list[tuple[int, int]]:
    """(axis, index) of every plane, through the centre of brightness; a slice has one plane."""
    if image.ndim == 2:
        return [(0, 0)]
    weights = image.double() + 1e-6
    cuts = []
    for axis in range(3):
        along = weights.sum([other for other in range(3) if other != axis])
        cuts.append((axis, round(float((along * torch.arange(len(along))).sum() / along.sum()))))
    return cuts


def _figure(columns: int, cuts: Sequence[tuple[int, int]]) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(3.2 * columns, 3.0 * len(cuts)), dpi=100, facecolor="white", layout="constrained")
    return figure, figure.subplots(len(cuts), columns, squeeze=False)


def _panels(maps: dict[str, Tensor], cuts, spacing, style: dict, *, bar: str = "") -> Figure:
    figure, axes = _figure(len(maps), cuts)
    for row, (axis, index) in enumerate(cuts):
        for column, (name, values) in enumerate(maps.items()):
            drawn = axes[row, column].imshow(slice_of(values, axis=axis, index=index), **style)
            _hang(axes[row, column], values.ndim, axis, spacing, name if row == 0 else "")
    if bar:
        figure.colorbar(drawn, ax=axes, label=bar, shrink=0.6)
    return figure


def _grids(image: Tensor, displacement: Tensor, cuts, spacing) -> Figure:
    figure, axes = _figure(len(cuts), cuts[:1])
    every = max(max(image.shape) // LINES, 1)
    for ax, (axis, index) in zip(axes[0], cuts, strict=True):
        shown = slice_of(image, axis=axis, index=index)
        ax.imshow(shown, cmap="gray", vmin=0, vmax=1)
        show_grid(ax, displacement, every=every, axis=axis, index=index)
        ax.set_xlim(-0.5, shown.shape[1] - 0.5)
        ax.set_ylim(shown.shape[0] - 0.5, -0.5)
        _hang(ax, image.ndim, axis, spacing, "")
    return figure


def _volume_change(determinant: Tensor, cuts, spacing) -> Figure:
    figure, axes = _figure(len(cuts), cuts[:1])
    logarithm = torch.log2(determinant.clamp_min(1e-6))
    for ax, (axis, index) in zip(axes[0], cuts, strict=True):
        values = slice_of(logarithm, axis=axis, index=index)
        drawn = ax.imshow(np.clip(values, -1, 1), cmap="PuOr", vmin=-1, vmax=1)
        rows, columns = np.nonzero(slice_of(determinant, axis=axis, index=index) <= 0)
        ax.plot(columns, rows, "s", color=FOLDED, markersize=3)
        _hang(ax, determinant.ndim, axis, spacing, "")
    bar = figure.colorbar(drawn, ax=axes, ticks=[-1, -0.5, 0, 0.5, 1], label="Jacobian determinant", shrink=0.8)
    bar.ax.set_yticklabels(["0.5", "0.71", "1", "1.41", "2"])
    return figure


def _hang(ax: Axes, dims: int, axis: int, spacing: Sequence[float], title: str) -> None:
    """Turn both axes round, set the voxels' proportions, and name the plane and its left edge."""
    rows, columns = (size for d, size in enumerate(spacing) if dims == 2 or d != axis)
    ax.set_aspect(rows / columns)
    ax.invert_xaxis()
    ax.invert_yaxis()
    ax.set_xticks([])
    ax.set_yticks([])
    if dims == 3:
        ax.set_ylabel(PLANES[axis], fontsize=9)
        ax.set_xlabel("front at the left" if axis == 2 else "right at the left", fontsize=7)
    if title:
        ax.set_title(title, fontsize=10)


def _picture(figure: Figure, title: str, caption: str) -> Picture:
    return Picture(title, caption, _source(figure), f"{title}: {caption}")


def _source(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
