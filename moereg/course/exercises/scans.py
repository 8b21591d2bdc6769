"""Chapter 14, your own scans."""

import math

import torch
from torch import Tensor

from moereg.course.exercises.functions import Inputs, Task

SHAPES = ((5, 6), (4, 5, 6))


def voxel_volume(answer: float, *, rows: list[list[float]]) -> tuple[bool, str]:
    """Cubic millimetres of one voxel, from the upper left part of an affine."""
    matrix = torch.tensor(rows, dtype=torch.float64)
    right = abs(float(torch.linalg.det(matrix)))
    lengths = matrix.norm(dim=0)
    if math.isclose(answer, right, rel_tol=0.01, abs_tol=1e-6):
        return True, "The determinant is the volume of a voxel, whichever way its edges point."
    if math.isclose(answer, -right, rel_tol=0.01, abs_tol=1e-6):
        return False, "The sign tells that the axes are left-handed. A volume has none."
    if math.isclose(answer, float(matrix.diagonal().abs().prod()), rel_tol=0.01, abs_tol=1e-6):
        return False, "The diagonal alone is right only where no axis is turned."
    if math.isclose(answer, float(lengths.sum()), rel_tol=0.01, abs_tol=1e-6):
        return False, "Those are the edges added; multiply them."
    return False, "The three columns are the edges of a voxel. What do they span?"


def interpolation(answer: str) -> tuple[bool, str]:
    """How a label map is read at a place between voxels."""
    if answer == "nearest":
        return True, "Half way between label 2 and label 6 lies 4, which is another organ."
    if answer == "linear":
        return False, "Half way between label 2 and label 6 that gives 4. Which organ is it?"
    return False, "Answer 'nearest' or 'linear'."


# ---- voxel to millimetres ----


def _place(affine: Tensor, index: Tensor) -> Tensor:
    ordered = index.flip(-1)
    return ordered @ affine[:-1, :-1].T + affine[:-1, -1]


def _affines() -> Inputs:
    """Affines without any symmetry, and a few voxels in the order of tensor axes."""
    draw = torch.Generator().manual_seed(41)
    cases = {}
    for shape in SHAPES:
        dims = len(shape)
        affine = torch.eye(dims + 1)
        affine[:dims] = torch.randn(dims, dims + 1, generator=draw) + 2 * torch.eye(dims, dims + 1)
        cases[f"in {dims}-D"] = (affine, 5 * torch.rand(4, dims, generator=draw))
    return cases


place = Task(
    right=_place,
    inputs=_affines,
    mistakes={
        "The axes are exchanged: a tensor's index is (k, j, i), the affine wants (i, j, k).": (
            lambda a, x: x @ a[:-1, :-1].T + a[:-1, -1]
        ),
        "The offset is missing: voxel 0 does not lie at 0 mm.": lambda a, x: x.flip(-1) @ a[:-1, :-1].T,
        "The matrix is transposed: each column is what one step along a file axis does.": (
            lambda a, x: x.flip(-1) @ a[:-1, :-1] + a[:-1, -1]
        ),
        "That is the way back, from millimetres to voxels.": lambda a, x: (
            (x.flip(-1) - a[:-1, -1]) @ torch.linalg.inv(a[:-1, :-1]).T
        ),
        "Only the lengths of the edges are used: a turned or flipped axis is lost.": lambda a, x: (
            x.flip(-1) * a[:-1, :-1].norm(dim=0) + a[:-1, -1]
        ),
    },
    praise="Two files show the same place where these agree, whatever their arrays look like.",
    hint="Turn (k, j, i) into (i, j, k), then matrix times index plus offset.",
)


# ---- a displacement in voxels to vectors of ITK ----


def _vectors(u: Tensor, affine: Tensor) -> Tensor:
    signs = torch.ones(len(u))
    signs[:2] = -1
    moved = torch.einsum("ij,j...->i...", affine[:-1, :-1], u.flip(0))
    return moved * signs.view(-1, *[1] * (u.ndim - 1))


def _unsigned(u: Tensor, affine: Tensor) -> Tensor:
    return torch.einsum("ij,j...->i...", affine[:-1, :-1], u.flip(0))


def _signed(vectors: Tensor) -> Tensor:
    signs = torch.ones(len(vectors))
    signs[:2] = -1
    return vectors * signs.view(-1, *[1] * (vectors.ndim - 1))


def _offset(u: Tensor, affine: Tensor) -> Tensor:
    return _signed(_unsigned(u, affine) + affine[:-1, -1].view(-1, *[1] * (u.ndim - 1)))


def _fields() -> Inputs:
    draw = torch.Generator().manual_seed(42)
    return {
        name: (torch.randn(len(shape), *shape, generator=draw), affine)
        for (name, (affine, _)), shape in zip(_affines().items(), SHAPES, strict=True)
    }


vectors = Task(
    right=_vectors,
    inputs=_fields,
    mistakes={
        "The offset does not belong here: a displacement is a difference of two places.": _offset,
        "The first two signs are missing: ITK counts to the left and to the back.": _unsigned,
        "The channels are exchanged: channel 0 of a tensor moves along its first axis, the file's last.": (
            lambda u, a: _signed(torch.einsum("ij,j...->i...", a[:-1, :-1], u))
        ),
        "All signs are turned: the third axis runs to the head in both.": lambda u, a: -_unsigned(u, a),
        "Only the lengths of the edges are used: a turned axis is lost.": lambda u, a: _signed(
            u.flip(0) * a[:-1, :-1].norm(dim=0).view(-1, *[1] * (u.ndim - 1))
        ),
    },
    praise="SimpleITK and ANTs read exactly this, and apply it to the moving file.",
    hint="Turn the channels round, multiply by the matrix, negate the first two.",
)


# ---- checkerboard ----


def _fields_of(shape: torch.Size, size: int) -> Tensor:
    axes = torch.meshgrid(*(torch.arange(n) // size for n in shape), indexing="ij")
    return sum(axes, torch.zeros(tuple(shape), dtype=torch.int64)) % 2


def _board(first: Tensor, second: Tensor, size: int) -> Tensor:
    return torch.where(_fields_of(first.shape, size) == 0, first, second)


def _stripes(first: Tensor, second: Tensor, size: int) -> Tensor:
    rows = (torch.arange(first.shape[0]) // size % 2).view(-1, *[1] * (first.ndim - 1))
    return torch.where(rows == 0, first, second)


def _diagonals(first: Tensor, second: Tensor, size: int) -> Tensor:
    axes = torch.meshgrid(*(torch.arange(n) for n in first.shape), indexing="ij")
    return torch.where(sum(axes, torch.zeros(first.shape, dtype=torch.int64)) // size % 2 == 0, first, second)


def _pictures() -> Inputs:
    draw = torch.Generator().manual_seed(43)
    return {
        f"in {len(shape)}-D": (*(torch.rand(shape, generator=draw) for _ in range(2)), size)
        for shape, size in (((9, 10), 3), ((5, 6, 7), 2))
    }


board = Task(
    right=_board,
    inputs=_pictures,
    mistakes={
        "The first field must show the first image.": lambda a, b, n: _board(b, a, n),
        "Those are stripes: every axis changes the field.": _stripes,
        "Divide each index by the size first, then add; added first they make diagonals.": _diagonals,
        "A field is `size` voxels wide, not one.": lambda a, b, n: _board(a, b, 1),
        "That is the mean of both. Each voxel shows one of them.": lambda a, b, n: (a + b) / 2,
    },
    praise="An edge that runs on from field to field lies at one place in both images.",
    hint="Sum of index // size over all axes; even shows the first image.",
)

EXERCISES = {
    "scans-place": place,
    "scans-vectors": vectors,
    "scans-board": board,
    "scans-volume": voxel_volume,
    "scans-labels": interpolation,
}
