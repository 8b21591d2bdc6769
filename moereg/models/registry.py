"""Models by name. The only place that knows them all: a sixth system is a file and a row here.

A model class says its `name`, is made from its sizes dataclass alone and keeps it as `model.sizes`, and maps
`model(moving, fixed) -> Registration`. Everything else (training, weights on disk, evaluation, the explorer, the
command line) works with any row of the table.
"""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from moereg.checks import check_choice
from moereg.models.baselines import VoxelMorph, VoxelMorphSizes
from moereg.models.drivenmorph import DrivenMorph, DrivenMorphSizes
from moereg.models.rman import RMAn, RMAnSizes
from moereg.models.segmentation import LabelledPairs, segmented_sizes
from moereg.models.segreg import SegReg, SegRegSizes
from moereg.models.shmoareg import SHMoAReg, SHMoARegSizes


@dataclass(frozen=True)
class Entry:
    """One row of the table.

    Args:
        make: sizes -> model; the class itself unless the model needs more than its sizes.
        sizes_for: training pairs -> sizes that follow from them, for a model whose sizes depend on the data.
    """

    sizes: type
    make: Callable[[Any], nn.Module]
    sizes_for: Callable[[LabelledPairs], dict] = lambda pairs: {}


MODELS: dict[str, Entry] = {
    SHMoAReg.name: Entry(SHMoARegSizes, SHMoAReg),
    DrivenMorph.name: Entry(DrivenMorphSizes, DrivenMorph),
    RMAn.name: Entry(RMAnSizes, RMAn),
    # Its backbone is any other model: it is handed the table instead of importing it.
    SegReg.name: Entry(SegRegSizes, lambda sizes: SegReg(sizes, build=build), segmented_sizes),
    VoxelMorph.name: Entry(VoxelMorphSizes, VoxelMorph),
}


def build(name: str, **sizes) -> nn.Module:
    """A new model by name; keywords are fields of its sizes dataclass.

    Raises:
        ValueError: unknown model, or a keyword that its sizes do not have.
    """
    check_choice("name", name, tuple(MODELS))
    entry = MODELS[name]
    known = {field.name for field in dataclasses.fields(entry.sizes)}
    for key in sizes:
        if key not in known:
            raise ValueError(f"sizes of {name!r} must be among {', '.join(sorted(known))}, got {key!r}.")
    return entry.make(entry.sizes(**_tuples(sizes)))


def build_for(name: str, pairs: LabelledPairs, **sizes) -> nn.Module:
    """A new model with as many axes as the pairs have, and what else of its sizes follows from them.

    Args:
        pairs: `moereg.data.Pair`s to train on.
        sizes: win over what follows from the pairs.
    """
    check_choice("name", name, tuple(MODELS))
    return build(name, **{"dims": len(pairs[0].shape)} | MODELS[name].sizes_for(pairs) | sizes)


def describe(model: nn.Module) -> dict[str, str]:
    """Name and sizes of a model of this library, as the strings that go into a file's header."""
    name = getattr(model, "name", None)
    if name not in MODELS:
        raise ValueError(f"model must be one of {', '.join(MODELS)}, got {type(model).__name__}.")
    return {"model": name, "sizes": json.dumps(dataclasses.asdict(vars(model)["sizes"]))}


def _tuples(value):
    """Sizes as their dataclass has them: from a file's header come lists in place of tuples."""
    if isinstance(value, dict):
        return {key: _tuples(inner) for key, inner in value.items()}
    return tuple(_tuples(inner) for inner in value) if isinstance(value, list) else value
