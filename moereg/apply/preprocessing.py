"""Images as a network knows them, and how far they are from what it was trained on.

What `moereg.models.trained` found at the training is applied to the pair: normalisation here; voxel size, the way that
axes run and least shape in `moereg.apply.views`, which `register`, `evaluate` and `explore` share. The rule for "far
from its training" looks at what stays different then:

| looked at  | far from training where                                                                       |
|------------|-----------------------------------------------------------------------------------------------|
| spacing    | voxels are resampled by a factor beyond 2 along an axis                                       |
| shape      | an axis is longer than 1.5 times the training images' after that                              |
| brightness | the mean of an image lies 4 standard deviations (of training images, at least .02) off theirs |
| contrast   | the same of its standard deviation                                                            |
| layout     | blocks differ, on average, 1.5 times as much from theirs as any training image's do           |
|            | (4 an axis; in sections 8, and 1.2 times)                                                     |

The last row sees what mean and deviation do not: of 8 pairs of MNI152 on four grids, brought to one grid as `register`
does it, these two find 4 far from the shipped network of abdomens, the last row 8. By it alone, hippocampi and phantoms
of brains, lungs and hearts are far from that network as well, and all but hippocampi from that of hippocampi (all
pairs). What is held out of a network's own data stays silent by every row: 38 of 38 pairs of hippocampi (the last row
even where 4 pairs of the training are all it goes by), 20 of 20 of abdomens, 20 of 20 of their sections. The network of
abdomens' sections tells of 20 of 20 of phantoms of the brain, the heart and the lung each; that of large motion, whose
own images are further apart, of 11 of the brain.
"""

from collections.abc import Sequence

from torch import Tensor

from moereg.apply.views import factors_of, resampled, sizes_told, turned_over, working_shape
from moereg.data.filepairs import normalise, normalise_as
from moereg.models.trained import TrainedOn, distance, layout_of

FAR_VOXELS, FAR_SHAPE, FAR_DEVIATIONS = 2.0, 1.5, 4.0
LEAST_DEVIATION = 0.02
FAR_LAYOUT, LEAST_APART = {2: 1.2, 3: 1.5}, 0.03  # times the furthest training image, which counts as so far at least


def normalised(image: Tensor, trained: TrainedOn | None) -> Tensor:
    """`(1, *S)` in the range of brightness that a network knows."""
    return normalise(image) if trained is None else normalise_as(trained.normalisation, image)


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
        told = sizes_told(trained.spacing or ())
        done.append(f"for the network: voxels of {sizes_told(spacing)} mm become {told} mm, as in its training")
    worst = max((max(factor, 1 / factor) for factor in factors_of(spacing, trained)), default=1.0)
    if round(worst, 2) > FAR_VOXELS:  # headers hold few digits
        how = "are resampled" if working != shape else "stay as they are, too many if resampled, and differ"
        far.append(f"voxels {how} by a factor of {worst:.1f}")
    if any(size > FAR_SHAPE * known for size, known in zip(working, trained.shape, strict=True)):
        far.append(f"its images had {sizes_told(trained.shape)} voxels, these have {sizes_told(working)}")
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
        most = FAR_LAYOUT[len(shape)] * max(trained.apart, LEAST_APART)
        over = turned_over(images[0].ndim + 1, trained)
        seen = [resampled(image[None].float(), working).flip(over)[0] for image in images]
        worst = max(distance(layout_of(image), trained.layout) for image in seen)
        if worst > most:
            far.append(
                f"bright and dark lie otherwise: blocks differ by {worst:.2f} from its images' (at most {most:.2f})"
            )
    return done, [f"warning: far from the network's training: {'; '.join(far)}"] if far else []
