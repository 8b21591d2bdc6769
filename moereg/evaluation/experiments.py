"""Experiments that train: what each part of SHMoAReg is worth, and whether routing follows the motion or the axis.

Every variant sees the same pairs in the same order for the same steps; the only other thing that changes is the seed.
Parameters are near equal where the table says so, and are returned with every row.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from moereg.data.pairs import Pair
from moereg.evaluation.metrics import evaluate
from moereg.evaluation.specialisation import Finding
from moereg.models import SHMoAReg, build
from moereg.training import TrainingConfig, fit

# name -> sizes that differ from the default
VARIANTS: dict[str, dict] = {
    "per direction": {},
    "joint router": {"routers": "joint"},
    "owned experts": {"experts": "owned", "decoder_widths": (12, 20, 27)},  # narrower: near-equal parameters
    "soft gates": {"gate": "soft"},
    "uniform gates": {"gate": "uniform"},
    "plain head": {"kernel_sizes": (7,), "active_experts": 1},  # the nested chain without a choice
    "all heads": {"head_gate": "uniform"},  # multi-head attention with shared keys instead of MoA
}


@dataclass(frozen=True)
class Task:
    """Pairs to train on and pairs to measure on, under one name."""

    name: str
    train: Sequence[Pair]
    test: Sequence[Pair]


@dataclass(frozen=True)
class Protocol:
    """What all runs of an experiment have in common."""

    training: TrainingConfig = field(default_factory=TrainingConfig)
    seeds: tuple[int, ...] = (0, 1, 2)
    sizes: dict = field(default_factory=dict)  # of SHMoAReg, before a variant changes them


def train_one(task: Task, protocol: Protocol, seed: int, **sizes) -> SHMoAReg:
    """One network, its weights and the order of its pairs drawn from `seed`."""
    torch.manual_seed(seed)
    model = build("shmoareg", dims=len(task.test[0].shape), **(protocol.sizes | sizes))
    fit(model, task.train, replace(protocol.training, seed=seed), progress=False)
    return model.cpu()


def ablation(
    tasks: Sequence[Task],
    protocol: Protocol,
    *,
    variants: dict[str, dict] | None = None,
    keep: Callable[[str, str, int, SHMoAReg], None] | None = None,
) -> Finding:
    """Train every variant on every task with every seed.

    Args:
        variants: name -> sizes that differ; the first one is what the others are compared with.
        keep: called with task, variant, seed and the trained network.
    """
    variants = variants or VARIANTS
    rows = []
    for task in tasks:
        for name, sizes in variants.items():
            for seed in protocol.seeds:
                model = train_one(task, protocol, seed, **sizes)
                measured = evaluate({"m": model}, task.test, surfaces=False)["m"]
                parameters = sum(parameter.numel() for parameter in model.parameters())
                rows.append(
                    {
                        "task": task.name,
                        "variant": name,
                        "seed": seed,
                        "parameters": parameters,
                        **{key: measured[key] for key in ("dice", "epe", "fold_fraction")},
                    }
                )
                if keep is not None:
                    keep(task.name, name, seed, model)
    return Finding("What is each part worth?", rows, _ablation_sentence(rows))


def compare(rows: Sequence[dict], task: str, first: str, second: str, key: str = "dice") -> tuple[float, float, int]:
    """Mean and standard error of `first - second` over seeds (paired by seed), and the number of seeds."""
    values = {
        name: {row["seed"]: row[key] for row in rows if (row["task"], row["variant"]) == (task, name)}
        for name in (first, second)
    }
    seeds = sorted(set(values[first]) & set(values[second]))
    differences = np.array([values[first][seed] - values[second][seed] for seed in seeds])
    error = float(differences.std(ddof=1) / len(seeds) ** 0.5) if len(seeds) > 1 else float("nan")
    return float(differences.mean()), error, len(seeds)


def axis_test(original: Task, permuted: Task, protocol: Protocol, *, order: Sequence[int]) -> Finding:
    """Train on the same anatomy with its motion statistics permuted between directions. Does the routing follow?

    Direction `d` of `permuted` moves as direction `order[d]` of `original`. The profile of a direction is the mean
    kernel extent its routers ask for (gates as weights, mean over decoder layers). If routing follows the motion, the
    permuted network's direction d has the profile of the original's `order[d]`; if it follows the axis, that of d.
    """
    rows, distances = [], []
    for seed in protocol.seeds:
        profiles = {}
        for task in (original, permuted):
            model = train_one(task, protocol, seed)
            profiles[task.name], routers = extent_profile(model, task.test)
            rows += [
                {"motion": task.name, "seed": seed, "router": router, "extent": float(value)}
                for router, value in zip(routers, profiles[task.name], strict=True)
            ]
        first, second = profiles[original.name], profiles[permuted.name]
        distances.append((np.abs(second - first[list(order)]).mean(), np.abs(second - first).mean()))
    motion, axis = np.array(distances).T
    gain, error = float((axis - motion).mean()), float((axis - motion).std(ddof=1) / len(axis) ** 0.5)
    follows = (
        "the motion" if gain > 2 * error else "the axis" if gain < -2 * error else "neither beyond the noise of seeds"
    )
    sentence = (
        f"Kernel extents per direction differ by {motion.mean():.2f} voxels if matched by motion and by "
        f"{axis.mean():.2f} if matched by axis ({len(axis)} seeds, difference {gain:+.2f} +- {error:.2f}): "
        f"routing follows {follows}."
    )
    return Finding("Does routing follow the motion or the axis?", rows, sentence)


def extent_profile(model: SHMoAReg, pairs: Sequence[Pair]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Mean kernel extent in voxels of the layer's grid that each direction asks for, and the directions' names."""
    sizes = torch.tensor([float(size) for size in model.sizes.kernel_sizes])
    total, count, routers = 0, 0, ()
    for pair in pairs:
        with torch.no_grad():
            routing = model(pair.moving[None], pair.fixed[None]).routing
        for name, record in routing.items():
            if name.startswith("decoder"):
                weight = record.gates / record.gates.sum(2, keepdim=True)
                total = total + torch.einsum("rep,e->r", weight[0].flatten(2), sizes) / weight[0, 0, 0].numel()
                count, routers = count + 1, record.routers
    return (total / count).numpy(), routers


def _ablation_sentence(rows: list[dict]) -> str:
    reference = rows[0]["variant"]
    parts = []
    for task in dict.fromkeys(row["task"] for row in rows):
        clear, open_ = [], []
        for variant in dict.fromkeys(row["variant"] for row in rows):
            if variant == reference:
                continue
            mean, error, seeds = compare(rows, task, variant, reference)
            decided = seeds > 1 and abs(mean) > 2 * error and abs(mean) > 0.005
            (clear if decided else open_).append(f"{variant} {mean:+.3f} +- {error:.3f}")
        parts.append(
            f"On {task}, Dice against '{reference}' differs clearly for "
            f"{', '.join(clear) or 'no variant'}, not beyond seeds for {', '.join(open_) or 'none'}"
        )
    return "; ".join(parts) + "."
