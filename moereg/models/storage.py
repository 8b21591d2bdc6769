"""Weights on disk: safetensors with the model's name and sizes in the header, nothing unpickled.

Networks that come with the repository lie in `data/weights`, each with a card, and are known by name.

A header may come from anywhere. Its sizes are bounded, and a model is made of them only as far as the tensors reach
that the file really holds: a short file cannot ask for much memory.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from moereg.files import checkout_folder, whole
from moereg.models.registry import MODELS, build, describe
from moereg.models.trained import KEY as TRAINED_ON
from moereg.models.trained import TrainedOn, as_entry, from_header

WEIGHTS_FOLDER = Path("data") / "weights"
PROVENANCE = "provenance"  # key of the header
LONGEST = 100_000  # characters of a header's sizes, and of its provenance
LARGEST = 4096  # whole number among them, and entries of a list
LABELS = ("segmenter_labels", "groups")  # values of label maps, which may be any


def save_weights(
    path: str | Path,
    model: nn.Module,
    *,
    half: bool = False,
    provenance: Mapping[str, Any] | None = None,
    trained: TrainedOn | None = None,
) -> None:
    """Write weights; the file appears whole or not at all. `half` stores 16 bits of every number, half the size.

    Args:
        provenance: where they come from, ready for JSON; see `moereg.training.provenance`. `read_provenance` reads it.
        trained: what it was trained on, `look_at(pairs, data)`, for whoever registers other images with it.

    Raises:
        ValueError: a model that could not be made again from its name and sizes, because a part of it was exchanged;
            numbers that are not finite, or with `half` from 65,520 on.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    if half:
        tensors = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
    header = describe(model) | ({} if provenance is None else {PROVENANCE: json.dumps(dict(provenance))})
    header |= {} if trained is None else {TRAINED_ON: as_entry(trained)}
    _check_finite(tensors, "model")
    try:
        with torch.random.fork_rng(devices=[]):  # its numbers are drawn for nothing
            wrong = differing(build_within(header["model"], _sizes(header["sizes"]), tensors), tensors)
    except ValueError as error:
        raise ValueError(f"model must be one that its name and sizes describe, to be loaded again; {error}") from error
    if wrong:
        raise ValueError(
            f"model must be one that its name and sizes describe, to be loaded again, but with {wrong!r} it is another "
            f"{header['model']!r}."
        )
    write_tensors(path, tensors, header)


def load_model(weights: str | Path) -> nn.Module:
    """Rebuild the model that a weights file holds, in evaluation mode, its numbers float32 however they are stored.

    Args:
        weights: a file, or the name of a network that comes with the repository, "hippocampus".

    Raises:
        FileNotFoundError, ValueError: no such file or name; not a safetensors file; not weights of this library; sizes
            that no model has; numbers that are not finite.
    """
    path = find_weights(weights)
    tensors, header = read_tensors(path)
    if header.get("model") not in MODELS or "sizes" not in header or "step" in header:
        raise ValueError(
            f"{path} must hold weights written by moereg, got a header with {sorted(header) or 'nothing'}."
        )
    try:
        model = build_within(header["model"], _sizes(header["sizes"]), tensors)
    except ValueError as error:
        raise ValueError(f"{path} must hold sizes that {header['model']!r} can have; {error}") from error
    wrong = differing(model, tensors)
    if wrong:
        raise ValueError(
            f"{path} must hold the weights of {header['model']!r}, {wrong!r} is missing, extra or misshapen."
        )
    _check_finite(tensors, str(path))
    model.load_state_dict(tensors)
    return model.eval()


def read_provenance(weights: str | Path) -> dict:
    """Where weights come from, as their file says it; empty for files that do not, as those of old.

    Raises:
        FileNotFoundError, ValueError: as `load_model`; an entry that is no table in JSON.
    """
    path = find_weights(weights)
    text = read_header(path).get(PROVENANCE, "{}")
    try:
        found = json.loads(text if len(text) <= LONGEST else "")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{path} must tell its provenance as a table in JSON, got {text[:40]!r}.")
    return found


def read_trained(weights: str | Path) -> TrainedOn | None:
    """What a network was trained on, as its file says it; None for files that do not, as those of old.

    Raises:
        FileNotFoundError, ValueError: as `load_model`; an entry that no training could have written.
    """
    path = find_weights(weights)
    return from_header(read_tensors(path)[1], str(path))


def build_within(name: str, sizes: dict, tensors: Mapping[str, Tensor]) -> nn.Module:
    """A new model of these sizes, given up as soon as it asks for much more than `tensors` hold.

    Raises:
        ValueError: sizes that the model cannot have, or that ask for more.
    """
    try:
        with _Budget(tensors):
            return build(name, **sizes)
    except ValueError:
        raise
    except Exception as error:  # numbers from anywhere, in the constructors of torch and of other libraries
        raise ValueError(f"no model can be made of them ({_first_line(error)}).") from error


class _Budget(TorchFunctionMode):
    """Counts the numbers that torch's constructors are asked for, and the parameters, before either is made."""

    MAKERS = (torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn)

    def __init__(self, tensors: Mapping[str, Tensor]):
        super().__init__()
        # Some layers are made and then exchanged for others: a few more than there are in the end.
        self.parameters = 4 * len(tensors) + 64
        self.numbers = 4 * sum(tensor.numel() for tensor in tensors.values()) + 1_000_000

    def __enter__(self):
        self.hook = register_module_parameter_registration_hook(self._count)
        return super().__enter__()

    def __exit__(self, *error):
        self.hook.remove()
        return super().__exit__(*error)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in self.MAKERS:
            shape = kwargs.get("size", args[0] if args and isinstance(args[0], Sequence) else args)
            self._spend(numbers=math.prod(size for size in shape if isinstance(size, int)))
        return func(*args, **kwargs)

    def _count(self, module: nn.Module, key: str, parameter: Tensor | None) -> None:
        self._spend(parameters=1)

    def _spend(self, *, numbers: int = 0, parameters: int = 0) -> None:
        self.numbers, self.parameters = self.numbers - numbers, self.parameters - parameters
        if min(self.numbers, self.parameters) < 0:
            raise ValueError("they ask for more numbers than there are.")


def differing(model: nn.Module, tensors: Mapping[str, Tensor]) -> str | None:
    """The first tensor by name that a model has and `tensors` have not, or the other way round, or of another kind."""
    expected, found = (
        {name: (tuple(tensor.shape), tensor.is_floating_point()) for name, tensor in held.items()}
        for held in (model.state_dict(), tensors)
    )
    return min((name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)), default=None)


def _sizes(text: str) -> dict:
    """Sizes as a header has them, each within bounds."""
    try:
        sizes = json.loads(text if len(text) <= LONGEST else "")
    except (ValueError, RecursionError):
        raise ValueError(f"they must be a short text in JSON, got {text[:40]!r}.") from None
    if not isinstance(sizes, dict):
        raise ValueError(f"they must have names, got {text[:40]!r}.")
    for name, value in sizes.items():
        _check_bounded(name, [value], math.inf if name in LABELS else LARGEST)
    return sizes


def _check_bounded(name: str, values: Iterable, most: float) -> None:
    for value in values:
        if isinstance(value, dict):
            for key, inner in value.items():
                _check_bounded(f"{name}.{key}", [inner], most)
        elif isinstance(value, list):
            if len(value) > LARGEST:
                raise ValueError(f"{name} must have {LARGEST} entries at most, got {len(value)}.")
            _check_bounded(name, value, most)
        elif isinstance(value, int) and not 0 <= value <= most:
            raise ValueError(f"{name} must lie between 0 and {most}, got {value}.")
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name} must be finite, got {value}.")


def _check_finite(tensors: Mapping[str, Tensor], holder: str) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ValueError(f"{holder} must hold finite numbers only, got NaN or infinity in {name!r}.")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


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
    """Write a safetensors file, whole or not at all.

    Raises:
        OSError: no space, no permission.
    """
    with whole(path) as unfinished:
        try:
            save_file(tensors, unfinished, metadata=header)
        except SafetensorError as error:  # what the system said is a part of its text
            raise OSError(f"{path} must be written whole, but that failed: {_first_line(error)}.") from error


def read_tensors(path: str | Path) -> tuple[dict, dict[str, str]]:
    """Tensors and header of a safetensors file.

    Raises:
        FileNotFoundError, ValueError: there is none; not a safetensors file, or not a whole one.
    """
    with _opened(Path(path)) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def read_header(path: str | Path) -> dict[str, str]:
    """The header alone. Raises as `read_tensors`."""
    with _opened(Path(path)) as file:
        return file.metadata() or {}


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise FileNotFoundError(f"weights file {path} {'is no file' if path.exists() else 'does not exist'}.")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, RuntimeError, ValueError, TypeError) as error:  # the last three of torch, on odd tensors
        raise ValueError(
            f"{path} must be a whole safetensors file, reading it failed: {_first_line(error)}."
        ) from error
