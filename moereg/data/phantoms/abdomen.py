"""The abdomen: which organs, where, how large, how bright on contrast-enhanced CT, and how that varies.

Positions and radii are rounded textbook sizes in millimetres (cranial to caudal, anterior to posterior, right to left);
intensities are those of a soft-tissue window of CT, roughly [-160, 240] Hounsfield units, stretched to [0, 1].
"""

import math
from dataclasses import replace

import torch

from moereg.data.phantoms.draw import Draw
from moereg.data.phantoms.motion import Motion
from moereg.data.phantoms.scene import Anatomy, Layer, Scene, draw_lattices
from moereg.data.phantoms.shapes import Column, Union

EXTENT = (300.0, 260.0, 360.0)
FAT, MUSCLE, BONE = 0.16, 0.54, 0.92


def subject(generator: torch.Generator) -> Scene:
    """A person: body habitus first, then organs inside of it."""
    draw = Draw(generator)
    layers = (*_trunk(draw), *_skeleton(draw), *_vessels(draw), *_viscera(draw))
    return Scene(layers=layers, lattices=draw_lattices(EXTENT, generator), extent=EXTENT)


def _trunk(draw: Draw) -> list[Layer]:
    """Skin, fat, muscle and the fat and bowel that fill the cavity; lung bases, heart and colon without labels."""
    fat, muscle = draw.uniform(5, 18), draw.uniform(8, 14)
    skin = 3.0
    radii = (draw.around(94, 3) + fat, draw.around(138, 4) + fat)
    trunk = Column(-400, 400, (4.0, 0.0), radii, waist=draw.around(-0.1, 0.2), square=draw.uniform(0.03, 0.08))
    inner = skin + fat + muscle
    cavity = replace(trunk, radii=(radii[0] - inner, radii[1] - inner))
    layers = [
        Layer(trunk, ((0.0, 0.5), (skin, FAT), (skin + fat, MUSCLE))),
        *_ribs(draw, trunk, skin + fat + 2.0),
        Layer(cavity, ((0.0, FAT + 0.04),), texture=(0.02, 0.0, draw.uniform(0.15, 0.25))),
    ]
    for side in (-1, 1):
        lung = draw.ellipsoid((-165, 14, 72 * side), (66, 74, 54), shift=4)
        layers.append(Layer(lung, ((0.0, 0.03),), texture=(0.01, 0.15, 0.0)))
        colon = Column(
            draw.around(10 if side < 0 else -20, 8), 200, (draw.around(-2, 8), draw.around(106, 4) * side),
            (draw.around(18, 2), draw.around(16, 2)), curve=(draw.around(0, 8), draw.around(0, 5)),
        )  # fmt: skip
        layers.append(Layer(colon, ((0.0, 0.5), (4.0, draw.uniform(0.15, 0.45))), texture=(0.02, 0.0, 0.15)))
    heart = draw.ellipsoid((-155, -40, 20), (34, 42, 50))
    layers.append(Layer(heart, ((0.0, draw.around(0.68, 0.03)),)))
    return layers


def _ribs(draw: Draw, trunk: Column, depth: float) -> list[Layer]:
    """Tilted rings under the fat; the cavity, painted later, leaves of each the thickness of a rib."""
    first, step, tilt = draw.around(-185, 5), draw.around(31, 1.5), draw.uniform(0.4, 0.6)
    radii = (trunk.radii[0] - depth, trunk.radii[1] - depth)
    level = draw.around(0.8, 0.02)
    layers = []
    for number in range(7):
        start = first + number * step
        rib = replace(trunk, start=start, stop=start + 10, radii=radii, waist=0.0, tilt=tilt)
        layers.append(Layer(rib, ((0.0, level),)))
    return layers


def _skeleton(draw: Draw) -> list[Layer]:
    """Psoas muscles beside the spine; vertebrae and the darker discs between them are one label."""
    middle = (draw.around(74, 2), draw.around(0, 3))
    bow = draw.around(-7, 4)  # lumbar lordosis
    layers = []
    for side, label, name in ((-1, 11, "right psoas"), (1, 12, "left psoas")):
        start, place, radii = draw.around(-5, 6), draw.around(62, 3), (draw.around(24, 2), draw.around(19, 2))
        psoas = Column(start, 400, (middle[0] - 4, place * side), radii, drift=(-8, 24 * side), taper=0.35)
        layers.append(Layer(psoas, ((0.0, draw.around(MUSCLE, 0.02)),), label=label, name=name))
    spine = Column(-160, 160, middle, (draw.around(20, 1.5), draw.around(25, 1.5)), curve=(bow, 0))
    bone, first, step = draw.around(BONE, 0.02), draw.uniform(-160, -125), draw.around(37, 1.5)
    layers.append(Layer(spine, ((0.0, bone), (6.0, bone - 0.17)), texture=(0.05, 0.0, 0.0), label=10, name="spine"))
    for number in range(9):
        place = first + number * step
        shift = bow * (place / 160) ** 2
        disc = Column(place - 5, place + 5, (middle[0] + shift, middle[1]), (spine.radii[0] + 1, spine.radii[1] + 1))
        layers.append(Layer(disc, ((0.0, 0.58),), label=10, name="spine"))
    return layers


def _vessels(draw: Draw) -> list[Layer]:
    """Aorta left of the midline, vena cava right of it, both in front of the spine."""
    phase = draw.around(0, 0.04)
    layers = []
    for label, name, x, radii, level in (
        (8, "aorta", 13.0, (11.0, 11.0), 0.86),
        (9, "vena cava", -20.0, (11.0, 14.0), 0.74),
    ):
        size = math.exp(draw.around(0, 0.1))
        column = Column(
            -400, 400, (draw.around(41, 2), draw.around(x, 2.5)), (radii[0] * size, radii[1] * size),
            drift=(draw.around(0, 8), draw.around(0, 10)),
        )  # fmt: skip
        layers.append(Layer(column, ((0.0, draw.around(level, 0.02) + phase),), label=label, name=name))
    return layers


def _viscera(draw: Draw) -> list[Layer]:
    """The organs that breathing moves most."""
    phase = draw.around(0, 0.03)  # contrast phase: all enhancing organs together

    def level(value: float) -> float:
        return draw.around(value, 0.02) + phase

    liver = Union(
        draw.ellipsoid((-44, 2, -76), (78, 72, 52), turn=(0, 14, 8), bumpy=0.1),
        draw.ellipsoid((-80, -36, 2), (32, 38, 68), turn=(0, -12, 0), bumpy=0.1),
        blend=34,
    )
    spleen = draw.ellipsoid((-58, 34, 104), (46, 36, 22), turn=(-20, 12, 15), bend={(2, 0): -0.15})
    stomach = Union(
        draw.ellipsoid((-72, -8, 62), (40, 38, 30), turn=(0, -20, 0)),
        draw.ellipsoid((-28, -48, 34), (20, 22, 46), turn=(0, -30, 0), bend={(0, 2): 0.1}),
        blend=24,
    )
    right_kidney, left_kidney = (
        draw.ellipsoid((z, 52, 64 * side), (52, 25, 27), turn=(0, 8 * side, 10), bend={(2, 0): -0.25 * side})
        for z, side in ((8, -1), (-10, 1))
    )
    gallbladder = draw.ellipsoid((0, -42, -58), (28, 16, 16), shift=5, turn=(0, -20, 20))
    pancreas = draw.ellipsoid((-10, 2, 14), (15, 13, 68), shift=4, turn=(0, -16, 0), bend={(1, 2): 0.35}, bumpy=0.08)
    cortex = level(0.84)
    parenchyma = ((0.0, cortex), (9.0, cortex - 0.12), (18.0, cortex - 0.4))
    grain = 0.03
    return [
        Layer(pancreas, ((0.0, level(0.6)),), (0.06, 0.0, -0.1), 7, "pancreas"),
        Layer(liver, ((0.0, level(0.66)),), (grain, 0.14, 0.0), 1, "liver"),
        Layer(spleen, ((0.0, level(0.74)),), (grain, 0.04, 0.0), 2, "spleen"),
        Layer(left_kidney, parenchyma, (grain, 0.0, 0.0), 3, "left kidney"),
        Layer(right_kidney, parenchyma, (grain, 0.0, 0.0), 4, "right kidney"),
        Layer(stomach, ((0.0, 0.56), (6.0, draw.uniform(0.3, 0.5))), (0.03, 0.0, 0.1), 5, "stomach"),
        Layer(gallbladder, ((0.0, draw.around(0.42, 0.02)),), (0.01, 0.0, 0.0), 6, "gallbladder"),
    ]


ABDOMEN = Anatomy(subject=subject, motion=Motion(), extent=EXTENT, section=(36.0, 0.15))
