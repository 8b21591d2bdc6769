"""Images to register: phantoms with known motion, public sets, files."""

from moereg.data import datasets, phantoms
from moereg.data.augmentation import Augmentation, augment
from moereg.data.pairs import Pair, Pairs
from moereg.data.phantoms import Phantoms
from moereg.data.volumes import (
    Grid,
    Volume,
    check_same_grid,
    load_displacement,
    load_grid,
    load_labels,
    load_volume,
    save_displacement,
    save_volume,
)

__all__ = [
    "Augmentation",
    "Grid",
    "Pair",
    "Pairs",
    "Phantoms",
    "Volume",
    "augment",
    "check_same_grid",
    "datasets",
    "load_displacement",
    "load_grid",
    "load_labels",
    "load_volume",
    "phantoms",
    "save_displacement",
    "save_volume",
]
