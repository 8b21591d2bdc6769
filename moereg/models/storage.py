"""Weights on disk: safetensors with the model's name and sizes in the header, nothing unpickled.

Networks that come with the repository lie in `data/weights`, each with a card, and are known by name.
"""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from moereg.files import checkout_folder, whole
from moereg.models.registry import MODELS, build, describe

WEIGHTS_FOLDER = Path("data") / "weights"


def save_weights(path: str | Path, model: nn.Module, *, half: bool = False) -> None:
    """Write weights; the file appears whole or not at all. `half` stores 16 bits of every number, half the size."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    if half:
        tensors = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
    write_tensors(path, tensors, describe(model))


def load_model(weights: str | Path) -> nn.Module:
    """Rebuild the model that a weights file holds, in evaluation mode, its numbers float32 however they are stored.

    Args:
        weights: a file, or the name of a network that comes with the repository, "hippocampus".

    Raises:
        FileNotFoundError, ValueError: no such file or name; not a safetensors file; not weights of this library.
    """
    path = find_weights(weights)
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


def find_weights(weights: str | Path) -> Path:
    """The file that a path or a name stands for; a path that is not there stays as it is.

    Raises:
        FileNotFoundError: a name that no network in `data/weights` has; the sentence says which there are.
    """
    path = Path(weights)
    if path.is_file() or path.name != str(weights) or path.suffix:
        return path
    folder = checkout_folder(WEIGHTS_FOLDER)
    known = sorted(file.stem for file in folder.glob("*.safetensors")) if folder else []
    if str(weights) in known and folder is not None:
        return folder / f"{weights}.safetensors"
    raise FileNotFoundError(
        f"weights must be a file or one of {', '.join(known) or 'no names'} in {folder or WEIGHTS_FOLDER}, "
        f"got {str(weights)!r}."
    )


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
