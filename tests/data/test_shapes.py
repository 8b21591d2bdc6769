"""Implicit shapes: distances are right on and near the surface, and nothing sticks out of the bounds."""

import math

import pytest
import torch

from moereg.data.phantoms.shapes import Column, Ellipsoid, HalfSpace, Intersection, Outside, Rod, Union, rotation

TURNED = Ellipsoid(
    (5, -3, 8), (30, 14, 20), rotation((0.4, -0.3, 0.8)), {(1, 0): 0.3, (2, 0): -0.2}, torch.eye(3), (0.1, -0.08, 0.05)
)
COLUMN = Column(-30, 35, (4, -6), (10, 16), drift=(6, -8), curve=(-5, 7), taper=0.3, waist=-0.2, square=0.1, tilt=0.4)
ROD = Rod((-20, 10, 5), (30, -15, 25), (12, 6))
SHAPES = {
    "ellipsoid": TURNED,
    "column": COLUMN,
    "union": Union(TURNED, COLUMN, blend=12),
    "intersection": Intersection(TURNED, Outside(COLUMN)),
    "rod": ROD,
}


def lattice(half=70, step=2):
    axis = torch.arange(-half, half + 1, step).float()
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"))


def test_sphere_knows_its_distance():
    points = lattice()
    distance = points.square().sum(0).sqrt() - 20
    assert torch.allclose(Ellipsoid((0, 0, 0), (20, 20, 20))(points), distance, atol=1e-3)


def test_ellipsoid_distance_is_right_to_first_order():
    """Along the outward normal the distance grows by one millimetre per millimetre."""
    radii = torch.tensor([30.0, 12.0, 20.0])
    directions = torch.randn(3, 200, generator=torch.Generator().manual_seed(0))
    surface = radii[:, None] * directions / directions.norm(dim=0)
    normal = surface / radii[:, None] ** 2
    shape = Ellipsoid((0, 0, 0), radii.tolist())
    assert shape(surface).abs().max() < 1e-3
    assert (shape(surface + 0.5 * normal / normal.norm(dim=0)) - 0.5).abs().max() < 0.05


def test_rotation_turns_the_body():
    rod = Ellipsoid((0, 0, 0), (5, 5, 40), rotation((math.pi / 2, 0, 0)))
    inside, outside = torch.tensor([0.0, 35.0, 0.0]), torch.tensor([0.0, 0.0, 35.0])
    assert rod(inside[:, None]) < 0 < rod(outside[:, None])


def test_column_ends_and_tilts():
    rib = Column(-5, 5, (0, 0), (50, 50), tilt=0.5)
    points = torch.tensor([[0.0, 0, 0], [7, 0, 0], [20, -40, 0], [-20, -40, 0]]).T  # anterior is lower: larger axis 0
    assert (rib(points) < 0).tolist() == [True, False, True, False]


def test_union_holds_both_and_fills_the_crease():
    first, second = Ellipsoid((0, 0, -18), (20, 20, 20)), Ellipsoid((0, 0, 18), (20, 20, 20))
    points = lattice()
    joined = Union(first, second, blend=10)(points) < 0
    apart = torch.minimum(first(points), second(points)) < 0
    assert (joined | ~apart).all()
    assert apart.sum() < joined.sum() < 1.1 * apart.sum()


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_nothing_sticks_out_of_the_bounds(shape):
    points = lattice()
    inside = points[:, shape(points) < 0]
    low, high = (torch.tensor(side)[:, None] for side in shape.bounds())
    assert inside.shape[1] > 500
    assert ((inside >= low) & (inside <= high)).all()


def test_rod_and_half_space_know_their_distance():
    rod = Rod((0, 0, 0), (0, 0, 20), (5, 3))
    points = torch.tensor([[0.0, 0, -7], [9, 0, 0], [0, 6, 10], [0, 0, 27]]).T
    assert torch.allclose(rod(points), torch.tensor([2.0, 4, 2, 4]), atol=1e-4)
    half = HalfSpace((0, 2, 0), (0, 3.0, 0))
    assert torch.allclose(half(torch.tensor([[0.0, 5, 0], [9, -1, 4]]).T), torch.tensor([3.0, -3]), atol=1e-5)


def test_intersection_and_outside_are_logical():
    points = lattice()
    both = Intersection(TURNED, Outside(COLUMN))(points) < 0
    assert torch.equal(both, (TURNED(points) < 0) & (COLUMN(points) > 0))
