"""The head on T1-weighted MR: folded cortex, white matter, ventricles, deep grey nuclei, cerebellum and brainstem.

Sizes are rounded textbook millimetres, intensities those of T1 (fluid dark, grey below white matter) in [0, 1]. The two
images of a pair stand for two people: one is the other under a smooth random diffeomorphism that has no preferred
direction. Every person has folds of their own, so `kind="subjects"` gives pairs whose sulci do not correspond.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from moereg.data.phantoms.draw import Draw
from moereg.data.phantoms.motion import Motion
from moereg.data.phantoms.scene import Anatomy, Layer, Scene, draw_lattices
from moereg.data.phantoms.shapes import Bounds, Ellipsoid, Intersection, Outside, Rod, Shape, Union

EXTENT = (180.0, 216.0, 180.0)
FLUID, GREY, WHITE, BONE, FAT = 0.12, 0.5, 0.78, 0.08, 0.88
INTER_SUBJECT = Motion(
    amplitude=(0.07, 0.07, 0.07), length=(0.22, 0.22, 0.22), drift=(0.0, 0.0, 0.0), least=0.7, margin=0.2
)


@dataclass(frozen=True)
class Cortex:
    """A body whose surface is folded inwards along sulci (negative inside).

    Sulci are sheets that stand on the surface of `hull`: the zero set of a sum of plane waves `f`, whose distance is
    about `|f| / |grad f|`. They are `width` millimetres wide and reach `depth` millimetres down; the fissure between
    the hemispheres is one more sheet, `x = 0`, down to `fissure` on axis 0.
    """

    hull: Shape
    waves: Tensor  # (K, 3) radians per millimetre
    phases: Tensor  # (K,)
    depth: float = 15.0
    width: float = 1.6
    fissure: float = -18.0

    def __call__(self, points: Float[Tensor, "3 *space"]) -> Float[Tensor, "*space"]:
        hull = self.hull(points)
        angle = torch.tensordot(self.waves, points, dims=1) + self.phases.reshape(-1, *[1] * (points.ndim - 1))
        value = angle.cos().sum(0)
        slope = torch.tensordot(self.waves.T, angle.sin_(), dims=1).square_().sum(0)
        # Near points where f is flat the quotient is meaningless; the floor keeps such places free of sulci.
        sheet = value.abs_().div_(slope.add_(0.02 * float(self.waves.square().sum())).sqrt_())
        sulcus = torch.hypot(sheet, (-hull - self.depth).clamp_min_(0)) - self.width / 2
        between = torch.hypot(points[2], (points[0] - self.fissure).clamp_min(0)) - self.width / 2
        return torch.maximum(hull, -torch.minimum(sulcus, between))

    def bounds(self) -> Bounds:
        return self.hull.bounds()


def subject(generator: torch.Generator) -> Scene:
    """A person: head, folded hemispheres, what lies deep in them, hindbrain."""
    draw = Draw(generator)
    layers = (*_head(draw), *_hindbrain(draw), *_hemispheres(draw), *_deep(draw))
    return Scene(layers=layers, lattices=draw_lattices(EXTENT, generator), extent=EXTENT)


def _head(draw: Draw) -> list[Layer]:
    """Scalp, skull, and the fluid around the brain, without labels; the neck below."""
    scalp, skull = draw.uniform(3, 6), draw.uniform(4, 7)
    head = Ellipsoid((8, 0, 0), [radius + draw.around(0, 1) for radius in (90, 99, 80)])
    neck = Rod((60, 24, 0), (300, 24, 0), (46, 46))
    upper = Ellipsoid((-4, 0, 0), [radius - scalp - skull for radius in (78, 97, 79)])
    lower = Ellipsoid((48, 40, 0), (36, 40, 44))  # the posterior fossa
    face = Ellipsoid((90, -20, 0), (56, 72, 62))
    return [
        Layer(neck, ((0.0, 0.7), (4.0, 0.36)), (0.05, 0.0, 0.1)),
        Layer(head, ((0.0, FAT), (scalp, BONE))),
        Layer(Intersection(face, head), ((0.0, 0.36),), (0.05, 0.0, 0.2)),
        Layer(Union(upper, lower, blend=10), ((0.0, FLUID),), (0.01, 0.0, 0.0)),
    ]


def _hemispheres(draw: Draw) -> list[Layer]:
    """Cortex and white matter are one layer each: the ribbon is what lies less than its thickness below the folds."""
    half = Union(
        draw.ellipsoid((-9, 0, 0), (58, 81, 64), shift=1.0, bumpy=0.015),
        Union(
            draw.ellipsoid((28, -8, 40), (25, 40, 22), shift=1.5, bumpy=0.02),
            draw.ellipsoid((28, -8, -40), (25, 40, 22), shift=1.5, bumpy=0.02),
            blend=2,
        ),
        blend=12,
    )
    base = Outside(draw.ellipsoid((56, 44, 0), (38, 52, 46), shift=1.5))  # room for the hindbrain
    wavelength = draw.around(34, 2)
    directions = torch.randn(10, 3, generator=draw.generator)
    cortex = Cortex(
        hull=Intersection(half, base),
        waves=directions / directions.norm(dim=1, keepdim=True) * (2 * math.pi / wavelength),
        phases=2 * math.pi * torch.rand(10, generator=draw.generator),
        depth=draw.around(15, 1),
        width=draw.uniform(1.4, 2.4),
        fissure=draw.around(-20, 1.5),
    )
    thickness = draw.around(4.0, 0.2)
    white = Deeper(cortex, thickness)
    return [
        Layer(cortex, ((0.0, draw.around(GREY, 0.015)),), (0.03, 0.0, 0.0), 1, "cortex"),
        Layer(white, ((0.0, draw.around(WHITE, 0.01)),), (0.02, 0.0, 0.02), 2, "white matter"),
    ]


@dataclass(frozen=True)
class Deeper:
    """What lies more than `depth` millimetres below a shape's surface."""

    shape: Cortex
    depth: float

    def __call__(self, points: Float[Tensor, "3 *space"]) -> Float[Tensor, "*space"]:
        return self.shape(points).add_(self.depth)

    def bounds(self) -> Bounds:
        return self.shape.bounds()


def _deep(draw: Draw) -> list[Layer]:
    """Ventricles and nuclei of both sides, mirror images but for small differences. Ventricles vary most with age."""
    wide = math.exp(draw.around(0.1, 0.22))
    level = draw.around(0.0, 0.01)
    third = draw.ellipsoid((8, 2, 0), (11, 15, 2.2 * wide), shift=0.5, bumpy=0.0)
    core = draw.ellipsoid((4, 4, 0), (22, 40, 42), shift=1, bumpy=0.0)  # no sulcus reaches what lies here
    layers = [Layer(core, ((0.0, WHITE),), (0.02, 0.0, 0.02), 2, "white matter")]
    for side, name in ((-1, "right"), (1, "left")):
        insula = draw.ellipsoid((6, -4, 43 * side), (15, 25, 3.2), shift=1, bumpy=0.0)
        putamen = draw.ellipsoid((6, -4, 27 * side), (13, 21, 7), shift=0.8, turn=(0, 10 * side, 8 * side), bumpy=0.03)
        pallidum = draw.ellipsoid((8, 0, 20 * side), (9, 13, 5.5), shift=0.6, turn=(0, 10 * side, 8 * side), bumpy=0.02)
        thalamus = draw.ellipsoid((3, 15, 11 * side), (10, 15, 8.5), shift=0.8, turn=(0, 0, -14 * side), bumpy=0.04)
        head = draw.ellipsoid((-7, -20, 15 * side), (11, 13, 6.5), shift=0.7, turn=(0, 10 * side, 0), bumpy=0.03)
        caudate = Union(head, Rod((-13, -12, 17 * side), (-13, 22, 22 * side), (5.0, 2.5)), blend=6)
        body = draw.ellipsoid(
            (-16, 2, 10 * side), (6.5 * wide, 38, 6.5 * wide), shift=0.6, turn=(0, 14 * side, 9 * side),
            bend={(0, 1): 0.35}, bumpy=0.03,
        )  # fmt: skip
        ventricle = Union(body, Rod((-12, 30, 17 * side), (12, 34, 29 * side), (5.5 * wide, 3.0 * wide)), blend=6)
        first = 3 if side < 0 else 4  # right labels are odd, left labels even
        grey = GREY + level
        layers += [
            Layer(insula, ((0.0, grey),), (0.03, 0.0, 0.0), 1, "cortex"),
            Layer(putamen, ((0.0, grey + 0.06),), (0.02, 0.0, 0.0), first + 4, f"{name} putamen"),
            Layer(pallidum, ((0.0, grey + 0.19),), (0.02, 0.0, 0.0), 2, "white matter"),
            Layer(thalamus, ((0.0, grey + 0.11),), (0.02, 0.0, 0.0), first + 6, f"{name} thalamus"),
            Layer(caudate, ((0.0, grey + 0.04),), (0.02, 0.0, 0.0), first + 2, f"{name} caudate"),
            Layer(ventricle, ((0.0, FLUID),), (0.01, 0.0, 0.0), first, f"{name} lateral ventricle"),
        ]
    return [*layers, Layer(third, ((0.0, FLUID),), (0.01, 0.0, 0.0))]


def _hindbrain(draw: Draw) -> list[Layer]:
    """Cerebellum with its leaves as rings of depth, and the brainstem, which reaches up to the thalami."""
    hull = Union(
        draw.ellipsoid((48, 44, 22), (25, 30, 27), shift=1.2, bumpy=0.03),
        draw.ellipsoid((48, 44, -22), (25, 30, 27), shift=1.2, bumpy=0.03),
        blend=10,
    )
    grey = draw.around(GREY, 0.015)
    leaves = ((0.0, grey), (4.0, grey + 0.16), (6.0, grey), (9.5, grey + 0.2))
    midbrain = Rod((16, 14, 0), (34, 12, 0), (12, 14))
    pons = draw.ellipsoid((42, 8, 0), (15, 13, 17), shift=0.8, bumpy=0.02)
    medulla = Rod((48, 14, 0), (110, 24, 0), (11, 7))
    look = ((0.0, draw.around(0.7, 0.01)),)
    return [
        Layer(hull, leaves, (0.04, 0.0, 0.0), 11, "cerebellum"),
        *(Layer(part, look, (0.02, 0.0, 0.0), 12, "brainstem") for part in (midbrain, pons, medulla)),
    ]


BRAIN = Anatomy(subject=subject, motion=INTER_SUBJECT, extent=EXTENT, section=(10.0, 0.35))
