"""Images as a network knows them, and how far they are from what it was trained on.

What `moereg.models.trained` found at the training is applied to the pair: normalisation, voxel size, the way that axes
run, least shape. The displacement comes back on the pair's own grid. The rule for "far from its training" looks at what
stays different then:

| looked at  | far from training where                                                                       |
|------------|-----------------------------------------------------------------------------------------------|
| spacing    | voxels are resampled by a factor beyond 2 along an axis                                       |
| shape      | an axis is longer than 1.5 times the training images' after that                              |
| brightness | the mean of an image lies 4 standard deviations (of training images, at least .02) off theirs |
| contrast   | the same of its standard deviation                                                            |
| layout     | 4 blocks an axis differ, on average, 1.5 times as much from theirs as any training image's do |

The last row sees what mean and deviation do not: of 8 pairs of MNI152 on four grids, brought to one grid as `register`
does it, these two find 4 far from the shipped network of abdomens, the last row 8. By it alone, hippocampi and phantoms
of brains, lungs and hearts are far from that network as well, and all but hippocampi from that of hippocampi (all
pairs). What is held out of a network's own data stays silent by every row: 38 of 38 pairs of hippocampi (the last row
even where 4 pairs of the training are all it goes by), 20 of 20 of abdomens, 20 of 20 of their sections. Least is seen
in sections: of 4 of phantoms of the brain, 1 is told of by the network of abdomens' sections.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from moereg.data.filepairs import centre, normalise
from moereg.data.pairs import Pair
from moereg.filters import smooth, smoothing_matrices
from moereg.models.trained import TrainedOn, distance, layout_of

SAME_VOXELS = 1.25  # factor of voxel sizes up to which images are left on their own grid
FAR_VOXELS, FAR_SHAPE, FAR_DEVIATIONS = 2.0, 1.5, 4.0
LEAST_DEVIATION = 0.02
FAR_LAYOUT, LEAST_APART = 1.5, 0.03  # times the furthest training image, which counts as so far at least

Predict = Callable[..., Tensor]  # images and mask (1, 1, *S) -> displacement (1, D, *S)


def normalised(image: Tensor, trained: TrainedOn | None) -> Tensor:
    """`(1, *S)` in the range of brightness that a network knows."""
    inside = bool(((image >= 0) & (image <= 1)).all())
    if trained is not None and trained.normalisation == "unit" and inside:
        return image.clone()
    return normalise(image)


def working_shape(shape: Sequence[int], spacing: Sequence[float], trained: TrainedOn | None) -> tuple[int, ...]:
    """Of the grid on which the network sees images of this shape and voxel size (mm): its own voxels."""
    factors = _factors(spacing, trained)
    if all(1 / SAME_VOXELS <= factor <= SAME_VOXELS for factor in factors):
        return tuple(shape)
    return tuple(max(round(size * factor), 2) for size, factor in zip(shape, factors, strict=True))


def far_from_training(
    images: Sequence[Tensor], spacing: Sequence[float], trained: TrainedOn | None
) -> tuple[list[str], list[str]]:
    """What was done to normalised images `(1, *S)` for this network, and warnings by the module's rule."""
    if trained is None:
        return [], []
    shape = tuple(images[0].shape[1:])
    working = working_shape(shape, spacing, trained)
    done, far = [], []
    if working != shape:
        told = _sizes(trained.spacing or ())
        done.append(f"for the network: voxels of {_sizes(spacing)} mm become {told} mm, as in its training")
        worst = max(max(factor, 1 / factor) for factor in _factors(spacing, trained))
        if worst > FAR_VOXELS:
            far.append(f"voxels are resampled by a factor of {worst:.1f}")
    if any(size > FAR_SHAPE * known for size, known in zip(working, trained.shape, strict=True)):
        far.append(f"its images had {_sizes(trained.shape)} voxels, these have {_sizes(working)}")
    for name, values, known in (
        ("mean", [float(image.mean()) for image in images], trained.brightness),
        ("standard deviation", [float(image.std()) for image in images], trained.contrast),
    ):
        reach = FAR_DEVIATIONS * max(known[1], LEAST_DEVIATION)
        worst = max(values, key=lambda value: abs(value - known[0]))
        if abs(worst - known[0]) > reach:
            far.append(
                f"the {name} of its images was {known[0]:.2f}, here it is {worst:.2f} (4 deviations: {reach:.2f})"
            )
    if trained.layout:
        most = FAR_LAYOUT * max(trained.apart, LEAST_APART)
        over = _turned_over(images[0].ndim + 1, trained)
        seen = [resampled(image[None].float(), working).flip(over)[0] for image in images]
        worst = max(distance(layout_of(image), trained.layout) for image in seen)
        if worst > most:
            far.append(
                f"bright and dark lie otherwise: blocks differ by {worst:.2f} from its images' (at most {most:.2f})"
            )
    return done, [f"warning: far from the network's training: {'; '.join(far)}"] if far else []


def predict_as_trained(
    predict: Predict, moving: Tensor, fixed: Tensor, mask: Tensor | None, spacing: Sequence[float], trained: TrainedOn
) -> Tensor:
    """Run it on images in the network's voxels, turned over as it knows them, padded about the middle to its shape; the
    field on the images' grid.
    """
    space = tuple(fixed.shape[2:])
    working = working_shape(space, spacing, trained)
    over = _turned_over(fixed.ndim, trained)
    images = [resampled(image, working).flip(over) for image in (moving, fixed)]
    region = None if mask is None else (resampled(mask.float(), working) > 0.5).flip(over)
    wanted = tuple(max(pair) for pair in zip(working, trained.shape, strict=True))
    if wanted != working:
        images = [centre(image[0], wanted)[None] for image in images]
        region = None if region is None else centre(region[0].to(torch.uint8), wanted)[None].bool()
    found = predict(*images, region)
    cut = tuple(slice((w - n) // 2, (w - n) // 2 + n) for w, n in zip(wanted, working, strict=True))
    found = found[(..., *cut)].flip(over)
    return resampled_field(-found if over else found, space)


def as_seen(pair: Pair, trained: TrainedOn | None) -> Pair:
    """A pair of images alone, turned over where the network knows them so."""
    over = _turned_over(pair.fixed.ndim + 1, trained)
    over = [axis - 1 for axis in over]
    return replace(pair, moving=pair.moving.flip(over), fixed=pair.fixed.flip(over)) if over else pair


def resampled(image: Tensor, shape: Sequence[int]) -> Tensor:
    """`(1, C, *S)` on a grid of another shape that covers the same box, smoothed first where that is coarser."""
    space = tuple(image.shape[2:])
    if tuple(shape) == space:
        return image
    # A voxel of n old ones is their mean, more or less: sigma^2 = (n^2 - 1) / 12.
    wider = [max(old / new, 1) for old, new in zip(space, shape, strict=True)]
    image = smooth(image, smoothing_matrices([((n * n - 1) / 12) ** 0.5 for n in wider], image))
    mode = "trilinear" if len(space) == 3 else "bilinear"
    return F.interpolate(image, tuple(shape), mode=mode, align_corners=False)


def resampled_field(displacement: Tensor, shape: Sequence[int]) -> Tensor:
    """A displacement in voxels, on another grid of the same box, in that grid's voxels."""
    space = tuple(displacement.shape[2:])
    if tuple(shape) == space:
        return displacement
    mode = "trilinear" if len(space) == 3 else "bilinear"
    values = F.interpolate(displacement, tuple(shape), mode=mode, align_corners=False)
    steps = values.new_tensor([new / old for new, old in zip(shape, space, strict=True)])
    return values * steps.view(-1, *[1] * len(space))


def _turned_over(ndim: int, trained: TrainedOn | None) -> list[int]:
    """Axes of `(1, C, *S)` that run the other way in the network's training."""
    return list(range(2, ndim)) if trained is not None and trained.backwards else []


def _factors(spacing: Sequence[float], trained: TrainedOn | None) -> list[float]:
    """How many of the network's voxels one of these is long, for each axis."""
    if trained is None or trained.spacing is None:
        return [1.0] * len(spacing)
    return [own / known for own, known in zip(spacing, trained.spacing, strict=True)]


def _sizes(values: Sequence[float]) -> str:
    """In the order of a file's axes."""
    return " x ".join(f"{value:g}" for value in reversed([round(float(value), 2) for value in values]))
