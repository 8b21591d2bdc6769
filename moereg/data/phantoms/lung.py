"""The chest at exhale (fixed) and inhale (moving): five lobes that slide along a wall that hardly moves.

Sizes are rounded textbook millimetres, intensities those of a lung window of CT, roughly [-1000, 400] Hounsfield units
stretched to [0, 1]. Layers are described in a straight chest, whose cavity is a cylinder along axis 0 without
the spine's column; `Chest.pose` narrows it towards the neck and gives the spine its curve.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from moereg.data.phantoms.breathing import Breathing
from moereg.data.phantoms.draw import Draw
from moereg.data.phantoms.motion import smooth_step
from moereg.data.phantoms.scene import Anatomy, Layer, Scene, draw_lattices
from moereg.data.phantoms.shapes import Column, Ellipsoid, HalfSpace, Intersection, Outside, Rod, Shape, Union

EXTENT = (320.0, 270.0, 370.0)
AIR, LUNG_TISSUE, FAT, MUSCLE, BLOOD, BONE = 0.02, 0.15, 0.64, 0.75, 0.77, 0.95
SLIDING = tuple(range(1, 10))  # labels within the pleura: lobes, heart, and what the diaphragm pushes
LOBES = ("right upper lobe", "right middle lobe", "right lower lobe", "left upper lobe", "left lower lobe")


@dataclass(frozen=True)
class Chest(Scene):
    """A subject, and the closed surface along which its tissue slides (negative within)."""

    pleura: Shape
    narrowing: float  # share of its width that the chest loses towards the neck
    bow: float  # millimetres by which the spine's ends lie in front of its middle

    def pose(self, points: Tensor) -> Tensor:
        straight = points.clone()
        width = self._width(points[0])
        straight[2] = points[2] / width
        if points.ndim == 4:  # a section stays where it was cut, so that tissue does not leave it
            straight[1] = (points[1] - self._shift(points[0])) / width
        return straight

    def unpose(self, straight: Tensor) -> Tensor:
        """The inverse of `pose`."""
        points = straight.clone()
        width = self._width(straight[0])
        points[2] = straight[2] * width
        if straight.ndim == 4:
            points[1] = straight[1] * width + self._shift(straight[0])
        return points

    def _width(self, z: Tensor) -> Tensor:
        return 1 - self.narrowing * smooth_step((-40 - z) / 125)

    def _shift(self, z: Tensor) -> Tensor:
        return -self.bow * (z / 160).square()


def subject(generator: torch.Generator) -> Chest:
    """A person: the wall first, then what slides in it, then the spine."""
    draw = Draw(generator)
    cavity = Column(
        -400, 400, (draw.around(-8, 2), 0.0), (draw.around(88, 4), draw.around(126, 4)), square=draw.uniform(0.02, 0.06)
    )
    spine = Column(-400, 400, (draw.around(72, 2), draw.around(0, 1)), (draw.around(21, 1), draw.around(22, 1.5)))
    pleura = Intersection(cavity, Outside(spine))
    layers = (*_wall(draw, cavity), *_contents(draw, cavity, pleura), *_spine(draw, spine))
    return Chest(
        layers=layers,
        lattices=draw_lattices(EXTENT, generator),
        extent=EXTENT,
        pleura=pleura,
        narrowing=draw.uniform(0.36, 0.44),
        bow=draw.around(14, 4),
    )


def _wall(draw: Draw, cavity: Column) -> list[Layer]:
    """Skin, fat, muscle and ribs: rings that hug the cavity, lower in front."""
    fat, muscle = draw.uniform(5, 13), draw.uniform(6, 12)
    radii = tuple(radius + 11 + muscle + fat + 3 for radius in cavity.radii)
    trunk = replace(cavity, start=-240, stop=240, radii=radii, taper=draw.around(-0.16, 0.02))
    layers = [Layer(trunk, ((0.0, 0.7), (3.0, FAT), (3.0 + fat, MUSCLE)), (0.02, 0.0, 0.0), 12, "body wall")]
    first, step, tilt = draw.around(-185, 4), draw.around(26, 1), draw.uniform(0.4, 0.6)
    level = draw.around(BONE, 0.02)
    outer = tuple(radius + draw.around(10, 0.5) for radius in cavity.radii)
    for number in range(13):
        start = first + number * step
        rib = replace(cavity, start=start, stop=start + 11, radii=outer, tilt=tilt)
        layers.append(Layer(rib, ((0.0, level), (3.5, level - 0.1)), label=10, name="ribs"))
    inner = replace(cavity, radii=tuple(radius + 2 for radius in cavity.radii))  # intercostal tissue under the ribs
    layers.append(Layer(inner, ((0.0, MUSCLE - 0.03),), label=12, name="body wall"))
    return layers


def _contents(draw: Draw, cavity: Column, pleura: Shape) -> list[Layer]:
    """What moves with breathing. The lungs reach the cavity's wall, so their costal surface is the pleura itself."""

    def within(shape: Shape) -> Intersection:
        return Intersection(pleura, shape)

    layers = [Layer(cavity, ((0.0, 0.68),), (0.01, 0.0, 0.03), 8, "mediastinum")]
    lungs = {
        side: draw.ellipsoid((8, 4, 79 * side), (146, 116, 64), shift=3, turn=(0, 2 * side, 0), bumpy=0.03)
        for side in (-1, 1)
    }
    for side, lung in lungs.items():
        layers += _lobes(draw, within(lung), side)
    for side, lung in lungs.items():
        layers += _vessels(draw, lung, within, side)
    trachea = Column(-400, -22, (draw.around(8, 2), draw.around(0, 2)), (9, 9))
    bronchi = [Rod((-26, trachea.centre[0], 0), (2, 10, 36 * side), (8, 6)) for side in (-1, 1)]
    layers += [Layer(tube, ((0.0, 0.6), (2.0, AIR)), (0, 0, 0), None) for tube in (trachea, *bronchi)]
    heart = Union(
        draw.ellipsoid((42, -34, 26), (44, 42, 52), shift=4, turn=(0, 22, 8)),
        draw.ellipsoid((8, -26, -4), (42, 34, 32), shift=4),
        blend=20,
    )
    arch = draw.ellipsoid((-58, -6, 6), (14, 30, 15), shift=3)
    aorta = Column(-60, 400, (draw.around(40, 2), draw.around(17, 2)), (12, 12))
    blood = draw.around(BLOOD, 0.02)
    layers += [Layer(tube, ((0.0, blood),), label=8, name="mediastinum") for tube in (within(arch), within(aorta))]
    layers.append(Layer(within(heart), ((0.0, FAT), (3.0, blood)), (0.02, 0.0, 0.02), 6, "heart"))
    return layers + _below(draw, cavity, within)


def _lobes(draw: Draw, lung: Shape, side: int) -> list[Layer]:
    """The upper lobe with the others laid over it; the oblique fissure is high behind and low in front."""
    oblique = HalfSpace((draw.around(-2, 5), draw.around(6, 4), 0), (-1.0, -draw.around(0.95, 0.1), 0.1 * side))
    horizontal = HalfSpace((draw.around(4, 5), -30, -80), (-1.0, draw.around(0.05, 0.04), 0.1))
    grain = (0.025, 0.12, 0.0)
    profile = ((0.0, LUNG_TISSUE + 0.16), (1.2, LUNG_TISSUE))
    if side < 0:
        parts = ((lung, 1), (Intersection(lung, horizontal), 2), (Intersection(lung, oblique), 3))
    else:
        parts = ((lung, 4), (Intersection(lung, oblique), 5))
    return [Layer(shape, profile, grain, label, LOBES[label - 1]) for shape, label in parts]


def _vessels(draw: Draw, lung: Ellipsoid, within: Callable[[Shape], Shape], side: int) -> list[Layer]:
    """A tree of three generations from the hilum towards the surface; it keeps the labels of the lobes it crosses."""
    hilum = (draw.around(2, 3), draw.around(8, 3), 34.0 * side)
    level = draw.around(BLOOD - 0.02, 0.02)
    layers = []

    def grow(start: tuple[float, ...], aim: Tensor, radius: float, generation: int) -> None:
        # A branch ends so far along its direction from the hilum; each generation comes nearer to the surface.
        reach = (0.38, 0.62, 0.84)[generation] * math.exp(draw.around(0, 0.06))
        centre, radii = torch.tensor(list(lung.centre)), torch.tensor(list(lung.radii))
        target = centre + radii * aim / aim.norm()
        stop = tuple((torch.tensor(hilum) + reach * (target - torch.tensor(hilum))).tolist())
        layers.append(Layer(within(Rod(start, stop, (radius, 0.7 * radius))), ((0.0, level),), (0, 0, 0), None))
        if generation < 2:
            for _ in range(2):
                turned = aim / aim.norm() + 0.55 * torch.randn(3, generator=draw.generator)
                turned[2] = abs(float(turned[2])) * side  # outwards
                grow(stop, turned, 0.68 * radius, generation + 1)

    for z, y in ((-0.85, 0.0), (-0.35, -0.7), (0.3, 0.75), (0.75, -0.35), (0.7, 0.5)):
        grow(hilum, torch.tensor([z, y, 0.6 * side]) + 0.15 * torch.randn(3, generator=draw.generator), 4.6, 0)
    return layers


def _below(draw: Draw, cavity: Column, within: Callable[[Shape], Shape]) -> list[Layer]:
    """The domes of the diaphragm: liver on the right, stomach and spleen on the left."""
    floor = draw.around(112, 3)
    right = draw.ellipsoid((floor + 32, 0, -58), (100, 128, 104), shift=4, bumpy=0.03)
    left = draw.ellipsoid((floor + 44, 6, 68), (100, 122, 92), shift=4, bumpy=0.03)
    bottom = replace(cavity, start=floor, stop=500)
    gas = draw.ellipsoid((floor + 2, -22, 78), (20, 34, 26), shift=4)
    belly = [Layer(within(shape), ((0.0, 0.69),), (0.02, 0.0, 0.03), 9, "upper abdomen") for shape in (bottom, left)]
    liver = Layer(within(right), ((0.0, draw.around(0.76, 0.01)),), (0.015, 0.05, 0.0), 7, "liver")
    bubble = Layer(within(gas), ((0.0, 0.69), (3.0, AIR)), (0, 0, 0), 9, "upper abdomen")
    return [*belly, bubble, liver]


def _spine(draw: Draw, spine: Column) -> list[Layer]:
    """Vertebrae and the darker discs between them, one label."""
    bone, first, step = draw.around(BONE, 0.01), draw.uniform(-160, -140), draw.around(25, 1)
    layers = [Layer(spine, ((0.0, bone), (4.0, bone - 0.09)), (0.03, 0.0, 0.0), 11, "spine")]
    for number in range(13):
        start = first + number * step
        layers.append(Layer(replace(spine, start=start, stop=start + 5), ((0.0, MUSCLE),), (0, 0, 0), 11, "spine"))
    return layers


LUNG = Anatomy(subject=subject, motion=Breathing(), extent=EXTENT, section=(-12.0, 0.0))
