"""A training on disk: weights, the optimiser's moments and the history in one safetensors file."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from moereg.data.pairs import Pairs
from moereg.models.registry import describe
from moereg.models.storage import differing, read_tensors, write_tensors
from moereg.training.config import History, TrainingConfig


def identity_of(pairs: Pairs) -> str | None:
    """What tells a set of pairs from another one; None where the set does not say.

    A set says it by a method `identity`; of a list the images and labels themselves are looked at.
    """
    own = getattr(pairs, "identity", None)
    if own is not None:
        return own()
    if not isinstance(pairs, list | tuple):
        return None
    digest = hashlib.blake2b(digest_size=16)
    for pair in pairs:
        for name in ("moving", "fixed", "moving_labels", "fixed_labels"):
            tensor = getattr(pair, name, None)
            digest.update(repr(None if tensor is None else tuple(tensor.shape)).encode())
            if tensor is not None:
                digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: TrainingConfig,
    step: int,
    history: History,
    *,
    data: str | None = None,
) -> None:
    """Weights, Adam's moments and the history in one safetensors file, and the `identity_of` the pairs."""
    tensors = {f"model.{name}": tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    state = optimizer.state_dict()["state"]
    for index, (name, _) in enumerate(model.named_parameters()):
        for key, value in state.get(index, {}).items():
            tensors[f"adam.{key}.{name}"] = value.detach().cpu().clone().contiguous()
    header = describe(model) | {
        "step": str(step),
        "config": json.dumps(_as_json(config)),
        "history": json.dumps(asdict(history)),
    }
    write_tensors(path, tensors, header if data is None else header | {"data": data})


def load_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: TrainingConfig,
    *,
    data: str | None = None,
) -> tuple[int, History]:
    """Restore model and optimizer in place; returns the number of finished steps and the history.

    Args:
        data: `identity_of` the pairs, compared where both the checkpoint and the pairs say it.

    Raises:
        ValueError: no checkpoint, or one of another model, other sizes, another configuration or other pairs.
    """
    tensors, header = read_tensors(path)
    if not {"step", "config", "history"} <= header.keys():
        raise ValueError(f"{path} must be a checkpoint of a training, got a header with {sorted(header) or 'nothing'}.")
    for key, value in describe(model).items():
        if header.get(key) != value:
            raise ValueError(f"checkpoint {path} must be of {key} {value}, got {header.get(key)}.")
    # An option that the checkpoint does not know had its default when it was written.
    stored = _as_json(TrainingConfig()) | json.loads(header["config"])
    for name, value in _as_json(config).items():
        # The device and how often to save do not change what is computed.
        if name not in ("device", "checkpoint_every") and stored[name] != value:
            raise ValueError(f"checkpoint {path} must have been made with {name} = {value!r}, got {stored[name]!r}.")
    if None not in (data, header.get("data")) and header["data"] != data:
        raise ValueError(
            f"checkpoint {path} must have been made with the pairs of this training, got one made with others; go on "
            "with its own data, or begin in another folder."
        )
    weights = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
    wrong = differing(model, weights)
    if wrong:
        raise ValueError(f"checkpoint {path} must hold the model's weights, {wrong!r} is missing, extra or misshapen.")
    model.load_state_dict(weights)
    state = {}
    for index, (name, _) in enumerate(model.named_parameters()):
        moments = {key: tensors.get(f"adam.{key}.{name}") for key in ("step", "exp_avg", "exp_avg_sq")}
        if all(value is not None for value in moments.values()):
            state[index] = moments
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(header["step"]), History(**json.loads(header["history"]))


def _as_json(config: TrainingConfig) -> dict:
    """The options as a file has them: lists in place of tuples."""
    return json.loads(json.dumps(asdict(config)))
