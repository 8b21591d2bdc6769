"""Weights on disk: safetensors with the model's name and sizes in the header, nothing unpickled."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from moereg.files import whole
from moereg.models.registry import MODELS, build, describe


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
    """Write a safetensors file, whole or not at all."""
    with whole(path) as unfinished:
        save_file(tensors, unfinished, metadata=header)


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
