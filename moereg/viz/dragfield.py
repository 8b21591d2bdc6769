"""A displacement field to drag, as a widget for notebooks; on a saved page it lives on without a kernel.

Every handle makes one Gaussian bump. The bumps add up to one field, which is read as a displacement or as a velocity:

    f(x) = sum_k m_k exp(-|x - c_k|^2 / (2 sigma^2))        u = f    or    u = exponentiate(f)

The view draws `x + u(x)` over the moving image and `moving[x + u(x)]` beside it, and colours folded voxels. What it
computes is what `moereg.fields` computes; `tests/browser/test_dragfield_page.py` compares the two.
"""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import anywidget
import torch
import traitlets
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from moereg.checks import check_image, check_positive
from moereg.fields import exponentiate, identity_grid, jacobian_determinant, warp
from moereg.viz.figures import show_grid, show_image
from moereg.viz.palette import FOLDED

FOLDER = Path(__file__).parent
READINGS = ("displacement", "velocity")

Place = tuple[float, float]


def bumps(
    shape: tuple[int, int], centres: Sequence[Sequence[float]], moves: Sequence[Sequence[float]], sigma: float
) -> Float[Tensor, "1 2 height width"]:
    """A sum of Gaussian bumps, `f(x) = sum_k m_k exp(-|x - c_k|^2 / (2 sigma^2))`, in voxels.

    Args:
        shape: rows and columns.
        centres, moves: (down, right) of each bump: where it stands, and its vector there.
        sigma: width in voxels.

    Raises:
        ValueError: unequal numbers of centres and moves, or a width that is not positive.
    """
    check_positive("sigma", sigma)
    if len(centres) != len(moves):
        raise ValueError(f"moves must be as many as centres, {len(centres)}, got {len(moves)}.")
    grid = identity_grid(shape, dtype=torch.float64)
    field = torch.zeros(2, *shape, dtype=torch.float64)
    for centre, move in zip(centres, moves, strict=True):
        c, m = (torch.tensor(pair, dtype=torch.float64).view(2, 1, 1) for pair in (centre, move))
        field += m * torch.exp(-(grid - c).square().sum(0) / (2 * sigma**2))
    return field.float()[None]


class DragField(anywidget.AnyWidget):
    """Drag handles over an image and watch the grid, the warped image and the Jacobian determinant.

    Args:
        image: `(1, H, W)`, intensities in [0, 1]; small, as its bytes travel with the notebook.
        centres: (row, column) of each handle.
        moves: (down, right) in voxels of each handle at the start.
        sigma: width of the bumps in voxels, 2 to 16.
        reading: "displacement" or "velocity".

    `moves`, `sigma` and `reading` are traits: they follow the view, and the view follows them.
    """

    _esm = (FOLDER / "dragfield.mjs").read_text(encoding="utf-8")
    _css = (FOLDER / "dragfield.css").read_text(encoding="utf-8")

    image = traitlets.Unicode(help="base64 of one byte per voxel").tag(sync=True)
    shape = traitlets.List(traitlets.Int()).tag(sync=True)
    centres = traitlets.List().tag(sync=True)
    moves = traitlets.List(help="(down, right) of every handle, voxels").tag(sync=True)
    sigma = traitlets.Float(min=2, max=16).tag(sync=True)
    reading = traitlets.Enum(READINGS).tag(sync=True)

    def __init__(
        self,
        image: Float[Tensor, "1 height width"],
        *,
        centres: Sequence[Place],
        moves: Sequence[Place] | None = None,
        sigma: float = 6.0,
        reading: str = "displacement",
    ):
        check_image("image", image[None])
        self._moving = image.detach().cpu().float().clamp(0, 1)
        moves = [(0.0, 0.0)] * len(centres) if moves is None else moves
        super().__init__(
            image=base64.b64encode((self._moving[0] * 255).round().to(torch.uint8).numpy().tobytes()).decode(),
            shape=list(image.shape[1:]),
            centres=[list(map(float, centre)) for centre in centres],
            moves=[list(map(float, move)) for move in moves],
            sigma=float(sigma),
            reading=reading,
        )

    @traitlets.validate("moves")
    def _check_moves(self, proposal):
        moves = [list(move) for move in proposal["value"]]
        if len(moves) != len(self.centres) or any(len(move) != 2 for move in moves):
            raise traitlets.TraitError(f"moves must be {len(self.centres)} pairs (down, right), got {moves}.")
        return moves

    def displacement(self) -> Float[Tensor, "1 2 height width"]:
        """The field as it stands in the view, in voxels."""
        height, width = self.shape
        field = bumps((height, width), self.centres, self.moves, self.sigma)
        return exponentiate(field) if self.reading == "velocity" else field

    def picture(self) -> tuple[Figure, str]:
        """What the view shows now, as a figure, and a sentence for people who do not see it."""
        u = self.displacement()
        determinant = jacobian_determinant(u)[0, 0]
        folded = determinant <= 0
        figure = Figure(figsize=(7, 3.8), dpi=90, facecolor="white", layout="constrained")
        left, right = figure.subplots(1, 2)
        show_image(left, self._moving[0], title="moving image, and where x + u(x) lies")
        show_grid(left, u[0], every=2)
        show_image(right, warp(self._moving[None], u)[0, 0], title="warped image, moving[x + u(x)]")
        place = identity_grid(tuple(self.shape))
        for ax, (rows, columns) in ((left, place + u[0]), (right, place)):
            ax.scatter(columns[folded], rows[folded], s=9, marker="s", color=FOLDED)
        for number, ((row, column), (down, across)) in enumerate(zip(self.centres, self.moves, strict=True), start=1):
            style = {
                "bbox": {"boxstyle": "circle", "facecolor": "white"},
                "fontsize": 7,
                "ha": "center",
                "va": "center",
            }
            left.text(column + across, row + down, str(number), **style)
        text = (
            f"An image with the deformed grid, and the warped image. Smallest Jacobian determinant "
            f"{determinant.min():.2f}; {int(folded.sum())} of {folded.numel()} voxels folded."
        )
        return figure, text

    def _repr_mimebundle_(self, **options) -> tuple[dict, dict] | None:
        """The view, and a picture for places that show no widgets, with its text."""
        bundle = super()._repr_mimebundle_(**options)
        if bundle is None:
            return None
        figure, text = self.picture()
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        data, metadata = bundle
        picture = base64.b64encode(buffer.getvalue()).decode()
        return data | {"image/png": picture}, metadata | {"image/png": {"alt": text}}
