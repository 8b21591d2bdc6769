"""When is a network not worth it? What needs no training beside what does, on the same pairs, with the price of each.

Pairs are of two kinds: as they come, and (`turned`) with a known turn, scale and shift on top, as two scans have them
that nobody has aligned. A tool is anything that takes two images; `Aligned` puts SimpleITK's affine before it. Seconds
are those of the processor, and are compared as ratios only; tools take turns, for a busy machine changes even those.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from moereg import fields
from moereg.alignment import align
from moereg.data.pairs import Pair
from moereg.data.volumes import Grid, Volume
from moereg.experiments.finding import Finding, effect_between, kept
from moereg.experiments.protocol import OnRows, Protocol, Task, nothing, seconds_of_earlier_runs, train_one
from moereg.metrics import UNDECIDED, PairScore, score, summarise
from moereg.models.registration import Registration
from moereg.physical import in_voxels, whole_map

Tool = Callable[..., Registration]
ITERATIONS = (60, 60, 40)  # coarse to fine, as of our own Demons
WORDS = {"better": "better than", "worse": "worse than", UNDECIDED: "not told apart from"}
AFFINE = "affine"  # the tool whose time is the unit


def linear(moving: Tensor, fixed: Tensor) -> Registration:
    """SimpleITK's affine alone (`moereg.alignment`), images `(1, 1, *S)`."""
    first, second = (Volume(image[0], Grid(_volume_shape(image), np.eye(4))) for image in (moving, fixed))
    matrix = align(first, second, "affine").matrix
    whole = whole_map(torch.zeros(3, *fixed.shape[2:]), second.grid, matrix)
    u = in_voxels(whole)[None].to(fixed)
    return Registration(u, fields.sample(moving, u))


def _volume_shape(image: Tensor) -> tuple[int, int, int]:
    depth, height, width = image.shape[2:]
    return depth, height, width


@dataclass(frozen=True)
class Aligned:
    """A tool on images that were aligned first; both fields composed into one."""

    tool: Tool

    def __call__(self, moving: Tensor, fixed: Tensor) -> Registration:
        first = linear(moving, fixed)
        second = self.tool(first.warped, fixed)
        u = fields.compose(first.displacement, second.displacement)
        return Registration(u, fields.sample(moving, u))


def simpleitk_demons(moving: Tensor, fixed: Tensor) -> Registration:
    """SimpleITK's diffeomorphic Demons with our schedule: three resolutions, elastic smoothing of one voxel."""
    import SimpleITK

    sitk: Any = SimpleITK
    images = [sitk.GetImageFromArray(image[0, 0].numpy()) for image in (moving, fixed)]
    levels = sum(min(fixed.shape[2:]) >= 16 * 2**level for level in (1, 2)) + 1
    field: Any = None
    for level, number in zip(reversed(range(levels)), ITERATIONS[-levels:], strict=True):
        small = [_shrunk(sitk, image, 2**level) for image in images]
        demons = sitk.DiffeomorphicDemonsRegistrationFilter()
        demons.SetNumberOfIterations(number)
        demons.SetStandardDeviations(1.0)
        if field is None:
            field = demons.Execute(small[1], small[0])
        else:
            start = sitk.Resample(field, small[1], sitk.Transform(), sitk.sitkLinear, 0.0, field.GetPixelID())
            field = demons.Execute(small[1], small[0], start)
    vectors = torch.from_numpy(sitk.GetArrayFromImage(field)).to(fixed)  # (*S, xyz), voxels: the spacing is one
    u = vectors.flip(-1).movedim(-1, 0)[None].contiguous()
    return Registration(u, fields.sample(moving, u))


def _shrunk(sitk, image, factor: int):
    if factor == 1:
        return image
    return sitk.Shrink(sitk.SmoothingRecursiveGaussian(image, factor / 2), [factor] * image.GetDimension())


def turned(pair: Pair, seed: int, *, degrees: float = 15, shift: float = 3, scale: float = 0.08) -> Pair:
    """The pair with its moving image turned, scaled and shifted, as if nobody had aligned the two scans.

    With T the linear map, about the middle, the new moving image shows at T y what the old one shows at y. The true
    displacement becomes `T(x + u(x)) - x`.

    Args:
        degrees: of the turn about an axis drawn at random; half to all of it.
        shift: voxels along a direction drawn at random; half to all of them.
        scale: the image becomes larger or smaller by half to all of this share.
    """
    draw = np.random.default_rng(seed)
    size, axis = draw.uniform(0.5, 1, 3), draw.normal(size=3)
    axis /= np.linalg.norm(axis)
    matrix = _turn(axis, np.deg2rad(degrees) * size[0]) * (1 + draw.choice([-1, 1]) * scale * size[1])
    way = draw.normal(size=3)
    offset = shift * size[2] * way / np.linalg.norm(way)
    identity = fields.identity_grid(pair.shape)
    middle = (torch.tensor(pair.shape) - 1).view(3, 1, 1, 1) / 2
    there, back = (torch.from_numpy(m).float() for m in (matrix, np.linalg.inv(matrix)))
    by = torch.from_numpy(offset).float().view(3, 1, 1, 1)
    pull = torch.einsum("ij,j...->i...", back, identity - middle - by) + middle - identity
    labels = pair.moving_labels
    truth = pair.displacement
    if truth is not None:
        truth = torch.einsum("ij,j...->i...", there, identity + truth - middle) + middle + by - identity
    return replace(
        pair,
        moving=fields.warp(pair.moving[None], pull[None], padding="zeros")[0],
        moving_labels=None if labels is None else fields.warp_labels(labels[None], pull[None])[0],
        displacement=truth,
    )


def _turn(axis: np.ndarray, angle: float) -> np.ndarray:
    """Rodrigues: 1 + sin(a) K + (1 - cos(a)) K^2."""
    cross = np.cross(np.eye(3), axis)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


@dataclass
class Clocked:
    """A tool whose seconds of the processor are counted."""

    tool: Tool
    seconds: float = 0.0

    def __call__(self, moving: Tensor, fixed: Tensor) -> Registration:
        began = time.process_time()
        result = self.tool(moving, fixed)
        self.seconds += time.process_time() - began
        return result


@dataclass(frozen=True)
class Entrant:
    """A tool under its name, and what its row says besides: its seed, the price of its training."""

    name: str
    tool: Tool
    more: dict


def measured(task: Task, entrants: Sequence[Entrant]) -> list[dict]:
    """A row for each on the test pairs of a task. They take turns, pair by pair: what else a machine does costs all of
    them alike, even processor time.
    """
    clocks = [Clocked(entrant.tool) for entrant in entrants]
    scores: list[list[PairScore]] = [[] for _ in entrants]
    for pair in task.test:
        for clock, own in zip(clocks, scores, strict=True):
            own.append(score(clock, pair, surfaces=False))
    rows = []
    for entrant, clock, own in zip(entrants, clocks, scores, strict=True):
        found = kept(summarise(own, task.test[0].label_names), ("dice", "epe", "fold_fraction"))
        row = {"task": task.name, "tool": entrant.name, "seed": None} | entrant.more
        rows.append(row | found | {"cpu_per_pair": clock.seconds / len(task.test)})
    return rows


def worth(
    tasks: Sequence[tuple[Task, Mapping[str, Tool], Mapping[str, Protocol]]],
    *,
    on_rows: OnRows = nothing,
) -> Finding:
    """Every tool on every task, and short trainings beside them.

    Args:
        tasks: each with the tools that need no training now, one of them "affine"; and with what is trained on the
            task's training pairs, by name, once per seed, and measured as it is and after the affine.

    Returns:
        Rows of task, tool, seed (None where nothing is trained), Dice, endpoint error (where the truth is known), share
        of folds, processor seconds per pair, and those of the training (None where a run that was broken off began it).
    """
    rows: list[dict] = []
    for task, tools, networks in tasks:
        entrants = [Entrant(name, tool, {}) for name, tool in tools.items()]
        for name, protocol in networks.items():
            for seed in protocol.seeds:
                began, before = time.process_time(), seconds_of_earlier_runs()
                model = train_one(task, protocol, seed).eval()
                whole = seconds_of_earlier_runs() == before  # else a run that was broken off had begun it
                spent = {"seed": seed, "cpu_of_training": time.process_time() - began if whole else None}
                entrants += [Entrant(name, model, spent), Entrant(f"{AFFINE}, {name}", Aligned(model), spent)]
        rows += measured(task, entrants)
        on_rows(rows[-len(entrants) :])
    return Finding("When is a network not worth it?", rows, worth_sentence(rows))


def best_untrained(rows: Sequence[dict], task: str) -> str:
    """The tool of highest Dice among those that have learned nothing, here or elsewhere."""
    own = [row for row in rows if row["task"] == task and row["seed"] is None and "network" not in row["tool"]]
    return max(own, key=lambda row: row["dice"])["tool"]


def mean_over_seeds(rows: Sequence[dict], task: str, tool: str, key: str) -> float:
    """Of one tool on one task."""
    return float(np.mean([row[key] for row in rows if (row["task"], row["tool"]) == (task, tool)]))


def worth_sentence(rows: Sequence[dict]) -> str:
    """Per task: the best without training, and every network against it by the one rule."""
    parts = []
    for task in dict.fromkeys(row["task"] for row in rows):
        best = best_untrained(rows, task)
        own = [row for row in rows if row["task"] == task]
        against = []
        for tool in dict.fromkeys(row["tool"] for row in own if "network" in row["tool"]):
            effect = effect_between(own, {"tool": tool}, {"tool": best})
            dice = mean_over_seeds(own, task, tool, "dice")
            against.append(f"{tool} is {WORDS[effect.judged('dice')]} that ({dice:.3f}; difference {effect.text()})")
        unit = mean_over_seeds(own, task, AFFINE, "cpu_per_pair")
        price = mean_over_seeds(own, task, best, "cpu_per_pair") / unit
        parts.append(
            f"On {task}, the best without training is {best}, Dice {mean_over_seeds(own, task, best, 'dice'):.3f} for "
            f"{price:.1f} times the affine's time: {', '.join(against)}"
        )
    return ". ".join(parts) + "."


def worth_markdown(rows: Sequence[dict]) -> str:
    """One table of all tasks: a row per tool, Dice and time of each task; a dash where a tool was not tried."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    found = {task: {tool: numbers for tool, *numbers in worth_table(rows, task)} for task in tasks}
    lines = ["| | " + " | ".join(f"{task}: Dice | time" for task in tasks) + " |", "|---|" + "---:|---:|" * len(tasks)]
    for tool in dict.fromkeys(row["tool"] for row in rows):
        held = [found[task].get(tool) for task in tasks]
        cells = ["- | -" if numbers is None else f"{numbers[0]:.3f} | {numbers[2]:.2f}" for numbers in held]
        lines.append(f"| {tool} | {' | '.join(cells)} |")
    return "\n".join(lines)


def worth_table(rows: Sequence[dict], task: str) -> list[tuple[str, float, float, float]]:
    """(tool, Dice, share of folds, time in units of the affine's) of a task, means over seeds, in the rows' order."""
    own = [row for row in rows if row["task"] == task]
    unit = mean_over_seeds(own, task, AFFINE, "cpu_per_pair")
    table = []
    for tool in dict.fromkeys(row["tool"] for row in own):
        dice, folds, seconds = (
            mean_over_seeds(own, task, tool, key) for key in ("dice", "fold_fraction", "cpu_per_pair")
        )
        table.append((tool, dice, folds, seconds / unit))
    return table
