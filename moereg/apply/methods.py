"""Which method registers a pair: a network, a method without training, or the best of these where none is asked for.

`python -m tools.untrained` measures them on pairs that everybody can get; `data/registering/untrained.json` holds what
it found, and says which one is the default.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from moereg.apply.views import predict_as_trained
from moereg.classical import METHODS, greedy_correlation
from moereg.data.datasets import HIPPOCAMPUS_SHAPE
from moereg.data.phantoms import ANATOMIES
from moereg.fields import sample, upsample_field
from moereg.filters import halve
from moereg.models import TrainedOn, load_model, read_trained
from moereg.models.registration import Registration
from moereg.models.storage import find_weights
from moereg.training import best_device, refine

STEPS = (60, 60, 40)  # of instance optimisation as a method of its own, coarse to fine
DEFAULT = "greedy"  # where neither weights nor a method is named, and no similarity that it does not know
# Of instance optimisation, by similarity. For lncc, 0.1 gives about a hundredth more Dice on phantoms, and more folds;
# mse is a far smaller number and needs less, mi needs more: with 0.3 hippocampi fold at over 1 % of voxels.
SMOOTHNESS = {"lncc": 0.3, "mse": 0.01, "mi": 1.0}
ANYTHING = (0.5, 1.0)  # mean and deviation of brightness and contrast where they are not known: nothing is far
SMALLEST_AXIS = 16  # voxels of the shortest axis that halving must leave
# Shortest axis in voxels, by number of axes, below which a histogram of two images says too little. Of phantoms in
# inverted contrast, three abdomens and three heads of each size, mutual information left more endpoint error than there
# was before in 4 of 6 volumes with axes of 10 and of 12 voxels, 1 of 6 with 16, none from 20 on; in slices in 4 of 6
# with axes of 16 voxels, 3 of 6 with 20, none from 24 on.
SMALLEST_FOR_MI = {2: 24, 3: 16}
MASKED = ("instance", "greedy")  # methods that know a mask
NAMES = (*METHODS, "instance")


@dataclass(frozen=True)
class Choice:
    """How pairs are registered."""

    run: Callable[..., Registration]  # (moving, fixed, mask, spacing), images (1, 1, *S)
    said: str
    place: torch.device  # where it runs
    model: nn.Module | None = None
    trained: TrainedOn | None = None  # what the network was trained on, where that is known


def check_options(
    weights: str | Path | None, method: str | None, refine_steps: int, similarity: str | None, masked: bool
) -> None:
    """Before anything is read.

    Raises:
        ValueError: two methods, an unknown one, options without effect.
    """
    if weights is not None and method is not None:
        raise ValueError("--weights and --method name two methods; give one of them.")
    if method is not None and method not in NAMES:
        raise ValueError(f"--method must be among {', '.join(NAMES)}, got {method!r}.")
    if refine_steps < 0:
        raise ValueError(f"--refine must be zero or more, got {refine_steps}.")
    if similarity is not None and similarity not in SMOOTHNESS:
        raise ValueError(f"--similarity must be among {', '.join(SMOOTHNESS)}, got {similarity!r}.")
    named = weights is not None or method not in (None, "instance")
    if similarity is not None and named and not refine_steps:
        raise ValueError("--similarity is what --refine looks at; with --weights or --method give --refine too.")
    if masked and method not in (None, "identity", *MASKED) and not refine_steps:
        raise ValueError(f"--mask does not reach {method}; leave --method out, or give --refine.")


def too_small(similarity: str | None, shape: Sequence[int]) -> list[str]:
    """A warning where images of this shape hold too few voxels for the similarity; else nothing."""
    least = SMALLEST_FOR_MI[len(shape)]
    if similarity != "mi" or min(shape) >= least:
        return []
    told = "x".join(map(str, reversed(shape)))
    return [
        f"warning: mutual information of {told} voxels often makes things worse, for its histogram is filled by few; "
        f"axes should have {least} voxels or more"
    ]


def check_there(weights: str | Path | None) -> None:
    """Before many pairs: weights that cannot be loaded are found once. Raises as `load_model`."""
    if weights is not None:
        load_model(weights)


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
    else:
        method = method or (DEFAULT if similarity == "lncc" else "instance")
        chosen = Choice(untrained(method, similarity), f"method: {_described(method, similarity)}", place)
    return _refined(chosen, refine_steps, similarity) if refine_steps else chosen


def untrained(method: str, similarity: str) -> Callable[..., Registration]:
    """A method by name, `(moving, fixed, mask, spacing) -> Registration`; the similarity is that of "instance"."""
    if method == "instance":
        return lambda moving, fixed, mask, spacing: without_training(moving, fixed, mask, similarity=similarity)
    if method in MASKED:
        return lambda moving, fixed, mask, spacing: greedy_correlation(moving, fixed, mask=mask)
    return lambda moving, fixed, mask, spacing: METHODS[method](moving, fixed)


def _described(method: str, similarity: str) -> str:
    if method == "instance":
        return f"instance optimisation, {similarity}, {'+'.join(map(str, STEPS))} steps"
    return f"{method}, local correlation" if method == "greedy" else method


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


def register_pair(
    choice: Choice, moving: Tensor, fixed: Tensor, mask: Tensor | None, spacing: Sequence[float]
) -> Registration:
    """Run it on images `(1, 1, *S)`, where it runs."""
    mask = None if mask is None else mask.to(choice.place)
    return choice.run(moving.to(choice.place), fixed.to(choice.place), mask, spacing)


def _network(weights: str | Path, place: torch.device, dims: int) -> Choice:
    model = load_model(weights).to(place)
    built_for = vars(model)["sizes"].dims
    if built_for != dims:
        raise ValueError(
            f"--weights {weights} is a network for {built_for}-D images, got {'volumes' if dims == 3 else 'slices'}."
        )
    trained, told = trained_on(weights)

    def predict(moving: Tensor, fixed: Tensor, mask: Tensor | None = None) -> Registration:
        with torch.no_grad():
            return model(moving, fixed)

    def run(moving: Tensor, fixed: Tensor, mask: Tensor | None, spacing: Sequence[float]) -> Registration:
        if trained is None:
            return predict(moving, fixed)
        displacement = predict_as_trained(
            lambda *images: predict(*images).displacement, moving, fixed, mask, spacing, trained
        )
        return Registration(displacement, sample(moving, displacement))

    return Choice(run, f"method: {getattr(model, 'name', 'network')} of {weights}; {told}", place, model, trained)


def trained_on(weights: str | Path) -> tuple[TrainedOn | None, str]:
    """What a network was trained on, from its file, else from the card beside it, and a sentence about it."""
    trained = read_trained(weights) or _from_card(find_weights(weights).with_suffix(".json"))
    if trained is None:
        return None, "what it was trained on is not known: neither its file nor a card beside it says it"
    size = "x".join(map(str, trained.shape[::-1]))
    voxels = "" if trained.spacing is None else f" of {'x'.join(f'{edge:g}' for edge in trained.spacing[::-1])} mm"
    return trained, f"trained on {trained.data}, {size} voxels{voxels}"


def _from_card(card: Path) -> TrainedOn | None:
    """Of files that were written before they said it themselves: the shape alone is known, whatever the brightness."""
    known = json.loads(card.read_text(encoding="utf-8")) if card.is_file() else {}
    data = known.get("data")
    shape = HIPPOCAMPUS_SHAPE if data == "hippocampus" else tuple(known.get("shape") or ())
    if not isinstance(data, str) or not shape:
        return None
    return TrainedOn(data, shape, None, "percentiles", ANYTHING, ANYTHING, backwards=data in ANATOMIES)


def _refined(choice: Choice, steps: int, similarity: str) -> Choice:
    def run(moving: Tensor, fixed: Tensor, mask: Tensor | None, spacing: Sequence[float]) -> Registration:
        return _improved(choice.run(moving, fixed, mask, spacing), moving, fixed, mask, steps, similarity)

    return replace(choice, run=run, said=f"{choice.said}, refined by {steps} steps of {similarity}")


def _improved(
    start: Registration, moving: Tensor, fixed: Tensor, mask: Tensor | None, steps: int, similarity: str
) -> Registration:
    options = {"similarity": similarity, "smoothness": SMOOTHNESS[similarity]}
    return refine(lambda *_: start, moving, fixed, steps, mask=mask, **options)
