"""What a network was trained on, as far as registering other images needs it. It travels in its weights file.

    trained = look_at(pairs, "hippocampus")            before a training
    save_weights(path, model, trained=trained)
    read_trained(path)                                 None for files that do not say it, as those of old

Images are brought to what the network knows before it sees them: to its range of brightness (`normalisation`) and to
its voxels (`spacing`), turned over where it knows them so (`backwards`); smaller ones are padded to its `shape`.

| normalisation | an image becomes                                                                              |
|---------------|-----------------------------------------------------------------------------------------------|
| "percentiles" | 0 at its 0.5th and 1 at its 99.5th percentile, cut beyond (`moereg.data.filepairs.normalise`) |
| "unit"        | itself where it lies between 0 and 1, as phantoms do; else as "percentiles"                   |
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from moereg.checks import check_choice

KEY = "trained_on"  # of the header
NORMALISATIONS = ("percentiles", "unit")
LONGEST, LARGEST = 4000, 4096  # characters of the entry, voxels of an axis
LOOKED_AT = 16  # pairs
BLOCKS = {2: 8, 3: 4}  # of a layout, along each axis of sections and of volumes
NUMBERS = {2: 2 * 8**2, 3: 4**3}  # of a layout


@dataclass(frozen=True)
class TrainedOn:
    """The images of a training. Axes are those of tensors."""

    data: str  # what its set was called
    shape: tuple[int, ...]
    spacing: tuple[float, ...] | None  # mm; None where voxels have no size of their own
    normalisation: str
    brightness: tuple[float, float]  # mean over images of their mean, after normalisation, and its standard deviation
    contrast: tuple[float, float]  # the same of the images' standard deviations
    layout: tuple[float, ...] = ()  # mean over images of theirs, `layout_of`; files of old do not say it
    apart: float = 0.0  # how far any image is at most from the mean of the others, `distance`
    backwards: bool = False  # axes run to the feet, the back and the left, as phantoms' do; else as canonical files' do

    def __post_init__(self):
        check_choice("normalisation", self.normalisation, NORMALISATIONS)
        if not 2 <= len(self.shape) <= 3 or not all(type(n) is int and 1 <= n <= LARGEST for n in self.shape):
            raise ValueError(f"shape must be two or three sizes from 1 to {LARGEST}, got {self.shape!r}.")
        numbers = (*self.brightness, *self.contrast, *(self.spacing or ()), *self.layout, self.apart)
        if not all(isinstance(n, int | float) and 0 <= n < 1e6 for n in numbers):
            raise ValueError(f"brightness, contrast, spacing and layout must be from zero on, got {numbers!r}.")
        if len(self.layout) not in (0, NUMBERS[len(self.shape)]):
            raise ValueError(f"layout must be {NUMBERS[len(self.shape)]} numbers or none, got {len(self.layout)}.")
        if not isinstance(self.backwards, bool):
            raise ValueError(f"backwards must be true or false, got {self.backwards!r}.")
        if len(self.brightness) != 2 or len(self.contrast) != 2:
            raise ValueError(f"brightness and contrast must be two numbers each, got {numbers!r}.")
        if self.spacing is not None and (len(self.spacing) != len(self.shape) or not all(self.spacing)):
            raise ValueError(f"spacing must be one positive number for each axis, got {self.spacing!r}.")


def look_at(pairs, data: str) -> TrainedOn:
    """The first `LOOKED_AT` pairs of a set, `moereg.data.Pair`s. A set says `normalisation` and `backwards` itself."""
    looked = [pairs[index] for index in range(min(len(pairs), LOOKED_AT))]
    images = [image for pair in looked for image in (pair.moving, pair.fixed)]
    spacings = [pair.spacing for pair in looked]
    alike = None not in spacings and all(
        max(edges) <= 1.02 * min(edges) for edges in zip(*(s for s in spacings if s is not None), strict=True)
    )
    layouts = np.array([layout_of(image) for image in images], dtype=np.float64)
    middle = layouts.mean(0)
    without_it = len(images) / (len(images) - 1)  # from the mean of the others, one is further than from that of all
    return TrainedOn(
        data=data,
        shape=tuple(looked[0].shape),
        spacing=tuple(round(float(edge), 4) for edge in spacings[0]) if alike and spacings[0] else None,
        normalisation=getattr(pairs, "normalisation", "unit"),
        brightness=_spread([float(image.mean()) for image in images]),
        contrast=_spread([float(image.std()) for image in images]),
        layout=tuple(middle.round(4).tolist()),
        apart=round(without_it * max(distance(one, middle) for one in layouts), 5),
        backwards=getattr(pairs, "backwards", False),
    )


def layout_of(image: Tensor) -> np.ndarray:
    """Mean brightness of `BLOCKS` blocks along every axis of an image `(1, *S)`: where it is bright, roughly.

    Of sections the standard deviation within each block, too: by means alone a head looks much like a belly.
    """
    flat = image.ndim == 3
    pool = F.adaptive_avg_pool2d if flat else F.adaptive_avg_pool3d
    known, blocks = image.detach().cpu().float()[None], BLOCKS[image.ndim - 1]
    mean = pool(known, blocks)
    if not flat:
        return mean.flatten().numpy()
    deviation = (pool(known.square(), blocks) - mean.square()).clamp_min(0).sqrt()
    return torch.cat([mean, deviation]).flatten().numpy()


def distance(one, other) -> float:
    """Mean distance of two layouts, in brightness."""
    return float(np.abs(np.asarray(one) - np.asarray(other)).mean())


def as_entry(trained: TrainedOn) -> str:
    """For a header."""
    return json.dumps(asdict(trained))


def from_header(header: Mapping[str, str], name: str) -> TrainedOn | None:
    """What a header says; None where it says nothing.

    Raises:
        ValueError: an entry that no training could have written.
    """
    if KEY not in header:
        return None
    text = header[KEY]
    try:
        values: Any = json.loads(text if len(text) <= LONGEST else "")
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        return TrainedOn(**values | {"data": str(values["data"])[:100]})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{name} must say what it was trained on as a training writes it ({error}).") from None


def _spread(values: list[float]) -> tuple[float, float]:
    mean = sum(values) / len(values)
    return round(mean, 5), round(math.sqrt(sum((v - mean) ** 2 for v in values) / len(values)), 5)
