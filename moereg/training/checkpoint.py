"""A training on disk: weights, the optimiser's moments and the history in one safetensors file."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from moereg.data.pairs import Pairs
from moereg.models.registry import describe
from moereg.models.storage import differing, read_tensors, write_tensors
from moereg.training.average import WeightAverage
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


@dataclass(frozen=True)
class Origin:
    """What else a checkpoint holds of the training, to be compared when it goes on.

    Args:
        data: `identity_of` the pairs; None where they do not say it, as checkpoints of old did not.
        batch: pairs of a step, over its passes and devices.
    """

    data: str | None
    batch: int


@dataclass(frozen=True)
class Checkpoint:
    """A training that was written down."""

    step: int  # finished ones
    history: History
    weights: dict[str, Tensor]
    average: dict[str, Tensor]  # of the weights, empty where none is made
    moments: dict[str, dict[str, Tensor]]  # Adam's, by the parameter's name

    def restore(self, model: nn.Module, optimizer: torch.optim.Optimizer, average: WeightAverage | None) -> None:
        """Model, optimizer and average as they were, in place."""
        model.load_state_dict(self.weights)
        names = [name for name, _ in model.named_parameters()]
        state = {index: self.moments[name] for index, name in enumerate(names) if name in self.moments}
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        if average is not None:
            average.load(self.average)


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: TrainingConfig,
    step: int,
    history: History,
    *,
    origin: Origin,
    average: WeightAverage | None = None,
) -> None:
    """Weights, their average, Adam's moments and the history in one safetensors file, and where they come from."""
    tensors = {f"model.{name}": tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{name}": tensor.cpu().contiguous() for name, tensor in average.values.items()}
    state = optimizer.state_dict()["state"]
    for index, (name, _) in enumerate(model.named_parameters()):
        for key, value in state.get(index, {}).items():
            tensors[f"adam.{key}.{name}"] = value.detach().cpu().clone().contiguous()
    header = describe(model) | {
        "step": str(step),
        "config": json.dumps(as_json(config)),
        "history": json.dumps(asdict(history)),
        "batch": str(origin.batch),
    }
    write_tensors(path, tensors, header if origin.data is None else header | {"data": origin.data})


def load_checkpoint(path: Path, model: nn.Module, config: TrainingConfig, origin: Origin) -> Checkpoint:
    """Read a checkpoint that the training of this model, configuration and data can go on from.

    More steps than were planned are taken as a wish to lengthen it; `history.lengthened` then says so.

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
    stored = as_json(TrainingConfig()) | json.loads(header["config"])
    step, history = int(header["step"]), History(**json.loads(header["history"]))
    _check_options(path, stored, as_json(config))
    _check_origin(path, Origin(header.get("data"), int(header.get("batch") or stored["pairs_per_step"])), origin)
    weights, average = (
        {name.removeprefix(kind): tensor for name, tensor in tensors.items() if name.startswith(kind)}
        for kind in ("model.", "average.")
    )
    parameters = {name for name, _ in model.named_parameters()}
    unlike = parameters ^ average.keys() if config.average else set()
    wrong = differing(model, weights) or min(unlike, default=None)
    if wrong:
        raise ValueError(f"checkpoint {path} must hold the model's weights, {wrong!r} is missing, extra or misshapen.")
    if stored["steps"] < config.steps:
        history.lengthened.append([step, stored["steps"]])
    moments = {}
    for name in parameters:
        found = {key: tensors.get(f"adam.{key}.{name}") for key in ("step", "exp_avg", "exp_avg_sq")}
        if all(value is not None for value in found.values()):
            moments[name] = found
    return Checkpoint(step, history, weights, average, moments)


def _check_options(path: Path, stored: dict, wanted: dict) -> None:
    for name, value in wanted.items():
        if name == "steps" and stored[name] <= value:
            continue
        if name not in TrainingConfig.MACHINERY and stored[name] != value:
            least = f"{name} = {value!r}" if name != "steps" else f"{value} steps at most, for none can be taken back"
            raise ValueError(f"checkpoint {path} must have been made with {least}, got {stored[name]!r}.")


def _check_origin(path: Path, stored: Origin, wanted: Origin) -> None:
    if stored.batch != wanted.batch:
        raise ValueError(
            f"checkpoint {path} must have been made with {wanted.batch} pairs a step, over all passes and devices, got "
            f"{stored.batch}."
        )
    if None not in (stored.data, wanted.data) and stored.data != wanted.data:
        raise ValueError(
            f"checkpoint {path} must have been made with the pairs of this training, got one made with others; go on "
            "with its own data, or begin in another folder."
        )


def as_json(config: TrainingConfig) -> dict:
    """The options as a file has them: lists in place of tuples."""
    return json.loads(json.dumps(asdict(config)))
