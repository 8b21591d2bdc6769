"""A training on disk: weights, the optimiser's moments and the history in one safetensors file."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from moereg.models.registry import describe
from moereg.models.storage import read_tensors, write_tensors
from moereg.training.config import History, TrainingConfig


def save_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, config: TrainingConfig, step: int, history: History
) -> None:
    """Weights, Adam's moments and the history in one safetensors file."""
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
    write_tensors(path, tensors, header)


def load_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, config: TrainingConfig
) -> tuple[int, History]:
    """Restore model and optimizer in place; returns the number of finished steps and the history.

    Raises:
        ValueError: the checkpoint is of another model, other sizes or another configuration.
    """
    tensors, header = read_tensors(path)
    for key, value in describe(model).items():
        if header.get(key) != value:
            raise ValueError(f"checkpoint {path} must be of {key} {value}, got {header.get(key)}.")
    # An option that the checkpoint does not know had its default when it was written.
    stored = _as_json(TrainingConfig()) | json.loads(header["config"])
    for name, value in _as_json(config).items():
        # The device and how often to save do not change what is computed.
        if name not in ("device", "checkpoint_every") and stored[name] != value:
            raise ValueError(f"checkpoint {path} must have been made with {name} = {value!r}, got {stored[name]!r}.")
    model.load_state_dict({name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")})
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
