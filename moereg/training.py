"""`fit`: the one training loop. Every model of the library, any set of pairs, CPU or GPU.

    loss = similarity(warped, fixed) + smoothness * diffusion(u)
           + labels * (1 - soft Dice) + balance * balance_loss + z * z_loss         (the last two over routed layers)
           + force * force_loss                                                     (of DrivenMorph)

For SegReg, similarity and smoothness are sums over regions (`SegmentedRegistration.regional_loss`).

Both directions of a pair form one batch (moving to fixed and fixed to moving), so training is symmetric; on a CPU a
batch of two also avoids a slow path of torch's 3-D convolution.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from tqdm.auto import tqdm

from moereg.checks import check_choice, check_positive
from moereg.data.pairs import Pair
from moereg.evaluation import dice, shared_labels
from moereg.fields import sample, warp_labels
from moereg.models.drivenmorph import DrivenRegistration
from moereg.models.registration import Registration, labels_for
from moereg.models.segreg import SegmentedRegistration
from moereg.models.storage import describe, read_tensors, write_tensors
from moereg.regularity import diffusion
from moereg.similarity import lncc, mse

SIMILARITIES: dict[str, Callable] = {"lncc": lncc, "mse": mse}
MEASURE_EVERY = 5  # steps between two looks at the overlap


@dataclass(frozen=True)
class TrainingConfig:
    """What a training run depends on, besides the model and the pairs."""

    steps: int = 300
    learning_rate: float = 1e-3  # peak; linear warm-up over 5 % of the steps, then cosine to zero
    similarity: str = "lncc"  # "lncc" (window 9) or "mse"
    smoothness: float = 0.1  # weight of diffusion(u), u in voxels
    labels: float = 0.0  # weight of 1 - soft Dice; above zero the training is weakly supervised
    balance: float = 0.01  # weight of the load-balance loss
    z: float = 0.001  # weight of the z loss
    force: float = 0.5  # weight of the deep supervision of forces, for models that have any
    pairs_per_step: int = 1  # each counts twice, once per direction
    seed: int = 0  # order of the pairs
    device: str = "auto"  # "auto", "cpu", "cuda", "mps"
    precision: str = "32-true"  # of lightning Fabric; "bf16-mixed" on a recent GPU
    checkpoint_every: int = 100  # steps

    def __post_init__(self):
        check_choice("similarity", self.similarity, tuple(SIMILARITIES))
        check_positive("steps", self.steps, integer=True)
        check_positive("pairs_per_step", self.pairs_per_step, integer=True)
        check_positive("checkpoint_every", self.checkpoint_every, integer=True)
        check_positive("learning_rate", self.learning_rate)
        for name in ("smoothness", "labels", "balance", "z", "force"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be zero or more, got {getattr(self, name)!r}.")


@dataclass
class History:
    """One entry per step."""

    loss: list[float] = field(default_factory=list)
    similarity: list[float] = field(default_factory=list)
    dice: list[float | None] = field(default_factory=list)  # of the step's batch; None between measurements
    seconds: float = 0.0  # of training, over all runs of a resumed training


def fit(
    model: nn.Module,
    pairs: Sequence[Pair],
    config: TrainingConfig | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
    title: str = "train",
    on_step: Callable[[int, nn.Module], None] | None = None,
) -> History:
    """Train `model` in place on random pairs of `pairs`.

    Deterministic on a CPU for a given seed, model and data. With `out`, a checkpoint `OUT/checkpoint.safetensors` is
    written every `checkpoint_every` steps and at the end; `resume=True` continues from it to the same weights that an
    uninterrupted run reaches.

    Args:
        title: of the progress bar.
        on_step: called with the number of finished steps and the model, after each step.

    Raises:
        ValueError: no pairs; a checkpoint of another model or configuration; a loss that is not finite.
    """
    from lightning_fabric import Fabric

    config = config or TrainingConfig()
    if len(pairs) == 0:
        raise ValueError("pairs must hold at least one pair, got none.")
    fabric = Fabric(accelerator=best_device(config.device).type, devices=1, precision=config.precision)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    checkpoint = None if out is None else Path(out) / "checkpoint.safetensors"
    history, first = History(), 0
    if resume and checkpoint is not None and checkpoint.exists():
        first, history = load_checkpoint(checkpoint, model, optimizer, config)
    # The network is not wrapped: Fabric would copy what it returns, and a Registration is frozen.
    fabric.to_device(model)
    optimizer = fabric.setup_optimizers(optimizer)
    model.train()

    bar = tqdm(range(first, config.steps), initial=first, total=config.steps, disable=not progress, desc=title)
    for step in bar:
        started = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, config)
        batch = collate([pairs[i] for i in choose_pairs(step, len(pairs), config)], fabric.device)
        with fabric.autocast():
            registration = model(
                batch.moving, batch.fixed, **labels_for(model, batch.moving_labels, batch.fixed_labels)
            )
        loss, parts = registration_loss(registration, batch, config)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ValueError(f"loss must stay finite, got {value} at step {step}; lower the learning rate.")
        optimizer.zero_grad(set_to_none=True)
        fabric.backward(loss)
        optimizer.step()
        history.loss.append(value)
        history.similarity.append(float(parts["similarity"].detach()))
        measure = batch.fixed_labels is not None and step % MEASURE_EVERY == 0
        history.dice.append(batch_dice(registration, batch) if measure else None)
        history.seconds += time.perf_counter() - started
        if measure:
            bar.set_postfix(loss=f"{value:.3f}", dice=f"{history.dice[-1]:.3f}")
        if on_step is not None:
            on_step(step + 1, model)
        last = step + 1 == config.steps
        if checkpoint is not None and (last or (step + 1) % config.checkpoint_every == 0):
            save_checkpoint(checkpoint, model, optimizer, config, step + 1, history)
    model.eval()
    return history


def best_device(name: str = "auto") -> torch.device:
    """ "auto" is CUDA where there is a GPU, else Apple's MPS, else the CPU.

    Raises:
        ValueError: an unknown name, or a device that this machine does not have.
    """
    check_choice("device", name, ("auto", "cpu", "cuda", "mps"))
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, found in there.items() if found)
    if not there[name]:
        raise ValueError(f"device must be one that this machine has, got {name!r}; 'auto' picks one.")
    return torch.device(name)


@dataclass(frozen=True)
class Batch:
    """Pairs stacked along the batch axis, each in both directions."""

    moving: Float[Tensor, "batch channel *space"]
    fixed: Float[Tensor, "batch channel *space"]
    moving_labels: Int[Tensor, "batch 1 *space"] | None
    fixed_labels: Int[Tensor, "batch 1 *space"] | None


def collate(pairs: Sequence[Pair], device: torch.device | str) -> Batch:
    """Stack pairs: first all moving -> fixed, then all fixed -> moving."""
    moving, fixed = (torch.stack([getattr(p, name) for p in pairs]).to(device) for name in ("moving", "fixed"))
    labelled = all(p.moving_labels is not None and p.fixed_labels is not None for p in pairs)
    if not labelled:
        return Batch(torch.cat([moving, fixed]), torch.cat([fixed, moving]), None, None)
    first, second = (
        torch.stack([getattr(p, name) for p in pairs]).to(device) for name in ("moving_labels", "fixed_labels")
    )
    return Batch(
        torch.cat([moving, fixed]), torch.cat([fixed, moving]), torch.cat([first, second]), torch.cat([second, first])
    )


def registration_loss(
    registration: Registration, batch: Batch, config: TrainingConfig
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """The loss of the module's text, and its unweighted parts by name."""
    similarity = SIMILARITIES[config.similarity]
    if isinstance(registration, SegmentedRegistration):
        alike, rough = registration.regional_loss(batch.moving, batch.fixed, similarity)
    else:
        alike, rough = similarity(registration.warped, batch.fixed), diffusion(registration.displacement)
    parts = {"similarity": alike, "smoothness": rough}
    weights = {"similarity": 1.0, "smoothness": config.smoothness}
    if config.labels and batch.fixed_labels is not None:
        parts["labels"] = soft_dice_loss(batch.moving_labels, batch.fixed_labels, registration.displacement)
        weights["labels"] = config.labels
    if registration.routing:
        routings = registration.routing.values()
        parts["balance"] = torch.stack([routing.balance_loss() for routing in routings]).mean()
        parts["z"] = torch.stack([routing.z_loss() for routing in routings]).mean()
        weights |= {"balance": config.balance, "z": config.z}
    if isinstance(registration, DrivenRegistration) and config.force:
        parts["force"] = registration.force_loss(batch.moving, batch.fixed, similarity)
        weights["force"] = config.force
    return sum(weights[name] * part for name, part in parts.items()), parts


def soft_dice_loss(
    moving_labels: Int[Tensor, "batch 1 *space"],
    fixed_labels: Int[Tensor, "batch 1 *space"],
    displacement: Float[Tensor, "batch dims *space"],
) -> Float[Tensor, ""]:
    """`1 - mean Dice` of linearly warped one-hot labels, over labels above zero that both images have."""
    labels = shared_labels(moving_labels, fixed_labels)
    moving, fixed = (torch.cat([lab == value for value in labels], 1).float() for lab in (moving_labels, fixed_labels))
    warped = sample(moving, displacement)
    overlap = 2 * (warped * fixed).flatten(2).sum(2)
    total = (warped + fixed).flatten(2).sum(2)
    return 1 - (overlap / total.clamp_min(1)).mean()


def batch_dice(registration: Registration, batch: Batch) -> float:
    """Mean Dice of a batch after nearest warping."""
    warped = warp_labels(batch.moving_labels, registration.displacement.detach().float())
    scores = [dice(w, f) for w, f in zip(warped, batch.fixed_labels, strict=True)]
    values = [value for score in scores for value in score.values()]
    return sum(values) / max(len(values), 1)


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Linear warm-up over 5 % of the steps, then half a cosine to zero."""
    warmup = max(1, config.steps // 20)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, config.steps - warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def choose_pairs(step: int, count: int, config: TrainingConfig) -> list[int]:
    """Indices of the pairs of one step; a function of seed and step alone, so a resumed run sees the same pairs."""
    epoch, within = divmod(step * config.pairs_per_step, count)
    indices = []
    while len(indices) < config.pairs_per_step:
        order = torch.randperm(count, generator=torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)).tolist()
        indices += order[within : within + config.pairs_per_step - len(indices)]
        epoch, within = epoch + 1, 0
    return indices


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
        "config": json.dumps(asdict(config)),
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
    stored = json.loads(header["config"])
    for option in fields(config):
        # The device and how often to save do not change what is computed.
        if option.name not in ("device", "checkpoint_every") and stored.get(option.name) != getattr(
            config, option.name
        ):
            raise ValueError(
                f"checkpoint {path} must have been made with {option.name} = {getattr(config, option.name)!r}, "
                f"got {stored.get(option.name)!r}."
            )
    model.load_state_dict({name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")})
    state = {}
    for index, (name, _) in enumerate(model.named_parameters()):
        moments = {key: tensors.get(f"adam.{key}.{name}") for key in ("step", "exp_avg", "exp_avg_sq")}
        if all(value is not None for value in moments.values()):
            state[index] = moments
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(header["step"]), History(**json.loads(header["history"]))
