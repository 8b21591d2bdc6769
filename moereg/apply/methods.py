"""Which method registers a pair: a network, Demons, or instance optimisation where nothing is asked for."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from moereg.classical import METHODS
from moereg.data.datasets import HIPPOCAMPUS_SHAPE
from moereg.data.filepairs import centre
from moereg.fields import sample, upsample_field
from moereg.filters import halve
from moereg.models import load_model
from moereg.models.registration import Registration
from moereg.models.storage import find_weights
from moereg.training import best_device, refine

STEPS = (60, 60, 40)  # of the method without training, coarse to fine
# Of instance optimisation, by similarity. For lncc, 0.1 gives about a hundredth more Dice on phantoms, and more folds;
# mse is a far smaller number and needs less.
SMOOTHNESS = {"lncc": 0.3, "mse": 0.01}
SMALLEST_AXIS = 16  # voxels of the shortest axis that halving must leave


@dataclass(frozen=True)
class Choice:
    """How pairs are registered."""

    run: Callable[..., Registration]  # (moving, fixed, mask), images (1, 1, *S)
    said: str
    place: torch.device  # where it runs
    model: nn.Module | None = None
    shape: tuple[int, ...] | None = None  # that the network was trained on, where that is known


def check_options(
    weights: str | Path | None, method: str | None, refine_steps: int, similarity: str | None, masked: bool
) -> None:
    """Before anything is read.

    Raises:
        ValueError: two methods, an unknown one, options without effect.
    """
    if weights is not None and method is not None:
        raise ValueError("--weights and --method name two methods; give one of them.")
    if method is not None and method not in METHODS:
        raise ValueError(f"--method must be among {', '.join(METHODS)}, got {method!r}.")
    if refine_steps < 0:
        raise ValueError(f"--refine must be zero or more, got {refine_steps}.")
    if similarity is not None and similarity not in SMOOTHNESS:
        raise ValueError(f"--similarity must be among {', '.join(SMOOTHNESS)}, got {similarity!r}.")
    named = weights is not None or method is not None
    if similarity is not None and named and not refine_steps:
        raise ValueError("--similarity is what --refine looks at; with --weights or --method give --refine too.")
    if masked and method not in (None, "identity") and not refine_steps:
        raise ValueError(f"--mask does not reach {method}; leave --method out, or give --refine.")


def choose(
    weights: str | Path | None, method: str | None, *, refine_steps: int, similarity: str, device: str, dims: int
) -> Choice:
    """The method that the options name, on its device.

    Raises:
        FileNotFoundError, ValueError: no such weights or device; a network for another number of axes.
    """
    place = best_device(device)
    if weights is not None:
        chosen = _network(weights, place, dims)
    elif method is not None:
        chosen = Choice(lambda moving, fixed, mask: METHODS[method](moving, fixed), f"method: {method}", place)
    else:
        run = partial(without_training, similarity=similarity)
        steps = "+".join(map(str, STEPS))
        chosen = Choice(run, f"method: instance optimisation, {similarity}, {steps} steps", place)
    return _refined(chosen, refine_steps, similarity) if refine_steps else chosen


def without_training(moving: Tensor, fixed: Tensor, mask: Tensor | None = None, *, similarity: str) -> Registration:
    """Instance optimisation from the identity, coarse to fine: as many of three resolutions as the images are large."""
    levels = [(moving, fixed, mask)]
    while len(levels) < len(STEPS) and min(levels[-1][1].shape[2:]) >= 2 * SMALLEST_AXIS:
        moving_, fixed_, mask_ = levels[-1]
        half = None if mask_ is None else mask_[(..., *[slice(None, None, 2)] * (mask_.ndim - 2))]
        levels.append((halve(moving_), halve(fixed_), half))
    result = METHODS["identity"](*levels[-1][:2])
    for steps, (moving_, fixed_, mask_) in zip(STEPS[-len(levels) :], reversed(levels), strict=True):
        if result.displacement.shape[2:] != fixed_.shape[2:]:
            start = upsample_field(result.displacement, fixed_.shape[2:])
            result = Registration(start, sample(moving_, start))
        result = _improved(result, moving_, fixed_, mask_, steps, similarity)
    return result


def register_padded(choice: Choice, moving: Tensor, fixed: Tensor, mask: Tensor | None) -> Registration:
    """Run it on images `(1, 1, *S)`, padded about the middle to at least the shape that a network was trained on."""
    space = tuple(fixed.shape[2:])
    wanted = tuple(max(pair) for pair in zip(space, choice.shape or space, strict=True))
    moving, fixed = moving.to(choice.place), fixed.to(choice.place)
    mask = None if mask is None else mask.to(choice.place)
    if wanted == space:
        return choice.run(moving, fixed, mask)
    padded = [centre(image[0], wanted)[None] for image in (moving, fixed)]
    padded_mask = None if mask is None else centre(mask[0].to(torch.uint8), wanted)[None].bool()
    found = choice.run(*padded, padded_mask).displacement
    cut = tuple(slice((w - n) // 2, (w - n) // 2 + n) for w, n in zip(wanted, space, strict=True))
    displacement = found[(..., *cut)]
    return Registration(displacement, sample(moving, displacement))


def _network(weights: str | Path, place: torch.device, dims: int) -> Choice:
    model = load_model(weights).to(place)
    built_for = vars(model)["sizes"].dims
    if built_for != dims:
        raise ValueError(
            f"--weights {weights} is a network for {built_for}-D images, got {'volumes' if dims == 3 else 'slices'}."
        )
    shape, told = trained_on(weights)

    def run(moving: Tensor, fixed: Tensor, mask: Tensor | None) -> Registration:
        with torch.no_grad():
            return model(moving, fixed)

    return Choice(run, f"method: {getattr(model, 'name', 'network')} of {weights}; {told}", place, model, shape)


def trained_on(weights: str | Path) -> tuple[tuple[int, ...] | None, str]:
    """Shape of the training images and a sentence about them, from the card beside the weights."""
    card = find_weights(weights).with_suffix(".json")
    known = json.loads(card.read_text(encoding="utf-8")) if card.is_file() else {}
    data = known.get("data")
    if not isinstance(data, str):
        return None, "what it was trained on is not known: there is no card beside the weights"
    shape = HIPPOCAMPUS_SHAPE if data == "hippocampus" else tuple(known.get("shape") or ()) or None
    size = f", {'x'.join(map(str, shape[::-1]))} voxels" if shape else ""
    return shape, f"trained on {data}{size}"


def far_from_training(shape: tuple[int, ...], trained: tuple[int, ...] | None) -> str | None:
    """A warning where an image is of quite another size than those that a network was trained on."""
    if trained is None or all(size <= 1.5 * known for size, known in zip(shape, trained, strict=True)):
        return None
    return (
        f"warning: the network was trained on images of {trained[::-1]} voxels, these have {shape[::-1]}: "
        "far from its training"
    )


def _refined(choice: Choice, steps: int, similarity: str) -> Choice:
    def run(moving: Tensor, fixed: Tensor, mask: Tensor | None) -> Registration:
        return _improved(choice.run(moving, fixed, mask), moving, fixed, mask, steps, similarity)

    return replace(choice, run=run, said=f"{choice.said}, refined by {steps} steps of {similarity}")


def _improved(
    start: Registration, moving: Tensor, fixed: Tensor, mask: Tensor | None, steps: int, similarity: str
) -> Registration:
    options = {"similarity": similarity, "smoothness": SMOOTHNESS[similarity]}
    return refine(lambda *_: start, moving, fixed, steps, mask=mask, **options)
