"""Labelled pairs made from nothing, with the true displacement known: any size, seeded, no download.

`make(anatomy, shape, seed)` draws a subject, renders it twice and returns a `Pair`. Its parts, each in its own file:

    shapes      closed surfaces as functions of position: signed distance, negative inside
    scene       tissues laid over one another; `render` evaluates them at any set of positions
    motion      a random diffeomorphism whose size and smoothness differ by direction
    draw        random numbers of one subject
    abdomen     the abdomen: which organs, where, how large, how bright, and how that varies from person to person
    brain       the head on T1-weighted MR: two people, related by a diffeomorphism
    cardiac     the heart at end-diastole and end-systole; `beating` moves it and keeps the muscle's volume
    lung        the chest at exhale and inhale; `breathing` moves it, with a jump of the displacement at the pleura
    interface   distance to the surface between two groups of labels
    synthesis   `make` and the map-style set `Phantoms`

Space is measured in millimetres from the middle of the field of view: axis 0 runs from cranial to caudal, axis 1 from
anterior to posterior, axis 2 from the patient's right to the left. A 2-D phantom is a section, a coronal one (axes 0
and 2) but for the heart, whose axes lie along the left ventricle: see `cardiac`.

The two images of a pair are never resampled from one another. The fixed image shows the tissue at `x`; the moving one,
at `y`, the tissue at `y + exp(-v)(y)`. Since `u = exp(v)` undoes that, `moving[x + u(x)]` shows the tissue of
`fixed[x]`, and both images are equally crisp. To add a family of phantoms, write a module with an `Anatomy` and enter
it in `synthesis.ANATOMIES`.
"""

from moereg.data.phantoms.beating import Beating
from moereg.data.phantoms.breathing import Breathing
from moereg.data.phantoms.interface import distance_to_interface
from moereg.data.phantoms.lung import SLIDING
from moereg.data.phantoms.motion import Motion
from moereg.data.phantoms.scene import Anatomy, Layer, Scene, View, render
from moereg.data.phantoms.synthesis import ANATOMIES, SPLITS, Phantoms, affine, make

__all__ = [
    "ANATOMIES",
    "SLIDING",
    "SPLITS",
    "Anatomy",
    "Beating",
    "Breathing",
    "Layer",
    "Motion",
    "Phantoms",
    "Scene",
    "View",
    "affine",
    "distance_to_interface",
    "make",
    "render",
]
