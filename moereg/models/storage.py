"""Models by name, and weights on disk: safetensors with the model's name and sizes in the header, nothing unpickled."""

import dataclasses
import json
import os
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from moereg.checks import check_choice
from moereg.models.baselines import VoxelMorph, VoxelMorphSizes
from moereg.models.drivenmorph import DrivenMorph, DrivenMorphSizes
from moereg.models.rman import RMAn, RMAnSizes
from moereg.models.segreg import SegReg, SegRegSizes
from moereg.models.shmoareg import SHMoAReg, SHMoARegSizes

MODELS = {
    "shmoareg": (SHMoAReg, SHMoARegSizes),
    "drivenmorph": (DrivenMorph, DrivenMorphSizes),
    "rman": (RMAn, RMAnSizes),
    "segreg": (SegReg, SegRegSizes),
    "voxelmorph": (VoxelMorph, VoxelMorphSizes),
}


def build(name: str, **sizes) -> nn.Module:
    """A new model by name; keywords are fields of its sizes dataclass.

    Raises:
        ValueError: unknown model, or a keyword that its sizes do not have.
    """
    check_choice("name", name, tuple(MODELS))
    model_class, sizes_class = MODELS[name]
    known = {field.name for field in dataclasses.fields(sizes_class)}
    for key in sizes:
        if key not in known:
            raise ValueError(f"sizes of {name!r} must be among {', '.join(sorted(known))}, got {key!r}.")
    return model_class(sizes_class(**_tuples(sizes)))


def _tuples(value):
    """Sizes as their dataclass has them: from a file's header come lists in place of tuples."""
    if isinstance(value, dict):
        return {key: _tuples(inner) for key, inner in value.items()}
    return tuple(_tuples(inner) for inner in value) if isinstance(value, list) else value


def describe(model: nn.Module) -> dict[str, str]:
    """Name and sizes of a model of this library, as the strings that go into a file's header."""
    for name, (model_class, _) in MODELS.items():
        if type(model) is model_class:
            return {"model": name, "sizes": json.dumps(dataclasses.asdict(model.sizes))}
    raise ValueError(f"model must be one of {', '.join(MODELS)}, got {type(model).__name__}.")


def save_weights(path: str | Path, model: nn.Module) -> None:
    """Write weights; the file appears whole or not at all."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_tensors(path, tensors, describe(model))


def load_model(path: str | Path) -> nn.Module:
    """Rebuild the model that a weights file holds, in evaluation mode.

    Raises:
        FileNotFoundError, ValueError: no such file; not a safetensors file; not weights of this library.
    """
    tensors, header = read_tensors(path)
    if header.get("model") not in MODELS or "step" in header:
        raise ValueError(
            f"{path} must hold weights written by moereg, got a header with {sorted(header) or 'nothing'}."
        )
    model = build(header["model"], **json.loads(header["sizes"]))
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if expected != found:
        wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        raise ValueError(
            f"{path} must hold the weights of {header['model']!r}, {wrong[0]!r} is missing, extra or misshapen."
        )
    model.load_state_dict(tensors)
    return model.eval()


def write_tensors(path: str | Path, tensors: dict, header: dict[str, str]) -> None:
    """Write a safetensors file through a temporary name, so that no reader ever sees half of it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    save_file(tensors, partial, metadata=header)
    partial.chmod(0o644)  # safetensors makes files that only their owner may read
    os.replace(partial, path)


def read_tensors(path: str | Path) -> tuple[dict, dict[str, str]]:
    """Tensors and header of a safetensors file."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"weights file {path} does not exist.")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} must be a whole safetensors file, reading it failed: {error}.") from error
