"""Images to register: phantoms with known motion, public sets, files."""

from moereg.data import datasets, phantoms
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
    "Grid",
    "Pair",
    "Pairs",
    "Phantoms",
    "Volume",
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
