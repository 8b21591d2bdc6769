"""The heart on short-axis cine MR at end-diastole (fixed) and end-systole (moving).

Axis 0 runs along the left ventricle from base to apex, axes 1 and 2 span the short axis (anterior to posterior,
right to left); a 2-D phantom is a mid-ventricular short-axis slice. Labels 1 to 3 are those of ACDC: right ventricle,
myocardium, left ventricle; the papillary muscles count as blood there, and here. Sizes are rounded textbook
millimetres.
"""

from dataclasses import dataclass

import torch

from moereg.data.phantoms.beating import BASE, Beating
from moereg.data.phantoms.draw import Draw
from moereg.data.phantoms.scene import Anatomy, Layer, Scene, draw_lattices
from moereg.data.phantoms.shapes import Column, Ellipsoid, HalfSpace, Intersection, Rod

EXTENT = (150.0, 150.0, 150.0)
BLOOD, MUSCLE, LUNG, LIVER, FAT = 0.82, 0.34, 0.06, 0.3, 0.9


@dataclass(frozen=True)
class Heart(Scene):
    """A subject, with the radius and length of its left ventricle's cavity in millimetres."""

    radius: float
    length: float  # from the valves' plane to the apex of the cavity


def subject(generator: torch.Generator) -> Heart:
    """A person: chest wall and lungs, right heart, left heart over it."""
    draw = Draw(generator)
    radius, wall, length = draw.around(25, 1.2), draw.around(10, 0.6), draw.around(74, 3)
    layers = (*_surroundings(draw), *_right(draw, radius + wall), *_left(draw, radius, wall, length))
    return Heart(layers=layers, lattices=draw_lattices(EXTENT, generator), extent=EXTENT, radius=radius, length=length)


def _surroundings(draw: Draw) -> list[Layer]:
    """Lungs all over, chest wall in front, liver towards the apex, spine and aorta behind."""
    body = Column(-400, 400, (0, 0), (400, 400))
    front = Intersection(body, HalfSpace((0, -58 + draw.around(0, 2), -30), (0.0, 1.0, 0.5)))
    liver = draw.ellipsoid((96, 10, -30), (50, 66, 70), shift=3)
    spine = Column(-400, 400, (74, -54), (24, 24))
    aorta = Column(-400, 400, (draw.around(58, 2), draw.around(8, 2)), (10, 10))
    return [
        Layer(body, ((0.0, LUNG),), (0.01, 0.2, 0.0)),
        Layer(front, ((0.0, MUSCLE), (8.0, FAT)), (0.03, 0.0, 0.05)),
        Layer(spine, ((0.0, 0.5),), (0.04, 0.0, 0.0)),
        Layer(liver, ((0.0, LIVER),), (0.02, 0.15, 0.0), 6, "liver"),
        Layer(aorta, ((0.0, BLOOD),), (0.01, 0.0, 0.0), 7, "aorta"),
    ]


def _right(draw: Draw, outer: float) -> list[Layer]:
    """Atria above the valves; the right ventricle is a crescent, since the left one is painted over it."""
    above = HalfSpace((BASE - 3, 0, 0), (1.0, 0.0, 0.0))
    left = Intersection(draw.ellipsoid((BASE - 20, 12, 8), (26, 26, 32), shift=2, bumpy=0.04), above)
    right = Intersection(draw.ellipsoid((BASE - 16, 6, -44), (26, 28, 24), shift=2, bumpy=0.04), above)
    below = HalfSpace((BASE, 0, 0), (-1.0, 0.0, 0.0))
    centre, radii = (BASE + 4, -6, -outer + 3), (62, 38, 34)
    crescent = draw.ellipsoid(centre, radii, shift=1.5, bumpy=0.05)
    free = Ellipsoid(crescent.centre, [r + 4 for r in crescent.radii], crescent.rotation, {}, crescent.bumps,
                     crescent.heights)  # fmt: skip
    blood = draw.around(BLOOD, 0.02)
    return [
        Layer(left, ((0.0, MUSCLE), (2.0, blood)), (0.02, 0.0, 0.0), 4, "left atrium"),
        Layer(right, ((0.0, MUSCLE), (2.0, blood)), (0.02, 0.0, 0.0), 5, "right atrium"),
        Layer(Intersection(free, below), ((0.0, MUSCLE),), (0.04, 0.0, 0.0)),
        Layer(Intersection(crescent, below), ((0.0, blood),), (0.03, 0.0, -0.12), 1, "right ventricle"),
    ]


def _left(draw: Draw, radius: float, wall: float, length: float) -> list[Layer]:
    """Half a prolate shell of muscle around blood, with papillary muscles and trabeculae that show the twist."""
    below = HalfSpace((BASE, 0, 0), (-1.0, 0.0, 0.0))
    outer = Ellipsoid((BASE, 0, 0), (length + wall, radius + wall, radius + wall))
    inner = Ellipsoid((BASE, 0, 0), (length, radius, radius))
    muscle, blood = draw.around(MUSCLE, 0.015), draw.around(BLOOD, 0.02)
    layers = [
        Layer(Intersection(outer, below), ((0.0, muscle),), (0.05, 0.1, 0.12), 2, "myocardium"),
        Layer(Intersection(inner, below), ((0.0, blood),), (0.02, 0.0, 0.0), 3, "left ventricle"),
    ]
    for angle, size in ((0.9, 5.0), (-0.55, 4.6), (2.3, 2.4), (3.5, 2.2), (4.6, 2.4)):  # two papillary muscles first
        place = angle + draw.around(0, 0.08)
        across = [0.72 * radius * float(f(torch.tensor(place))) for f in (torch.sin, torch.cos)]
        rod = Rod((BASE + 14, *across), (BASE + 0.62 * length, *across), (size, size))
        layers.append(Layer(Intersection(rod, inner), ((0.0, muscle),), (0.03, 0.0, 0.0), 3, "left ventricle"))
    return layers


CARDIAC = Anatomy(subject=subject, motion=Beating(), extent=EXTENT, section=(0.0, 0.0), axes=(1, 2))
