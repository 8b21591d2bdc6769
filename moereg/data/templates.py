"""A real brain: the MNI152 template that nilearn carries, warped twice by known random diffeomorphisms.

    pip install "moereg[brain]"
    pair = templates.mni152((64, 72, 64), seed=0)

nilearn holds the ICBM 2009a nonlinear symmetric average of 152 people (T1, and maps of grey and white matter) inside of
its package; nothing is downloaded. An average has one cortex, smoother than any person's: both images of a pair show
it, so what varies is its form alone.
"""

from functools import cache

import nibabel as nib
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from moereg.data.pairs import Pair
from moereg.data.phantoms.brain import INTER_SUBJECT
from moereg.data.phantoms.motion import Motion
from moereg.fields import sample

LABELS = {1: "grey matter", 2: "white matter", 3: "fluid"}


def mni152(shape: tuple[int, ...], seed: int, *, motion: Motion | None = None, noise: float = 0.02) -> Pair:
    """A pair of the MNI152 template with the true displacement known, wholly determined by its arguments.

    The fixed image is the template `T` on a grid of `shape`; the moving one is `T(y + exp(-v)(y))`, sampled from the
    template itself, so that `moving[x + exp(v)(x)]` shows what `fixed[x]` shows. Axes run from cranial to caudal, from
    anterior to posterior and from right to left; a 2-D shape gives a coronal section a little behind the middle.

    Args:
        shape: voxels along each axis, two or three; at least 8 each.
        seed: any whole number from zero on.
        motion: statistics of the displacement; that of two subjects if not given.
        noise: standard deviation of white noise on intensities in [0, 1].

    Raises:
        ImportError: nilearn is not installed. ValueError: a bad shape or seed.
    """
    shape = tuple(shape)
    if len(shape) not in (2, 3) or min(shape) < 8:
        raise ValueError(f"shape must be two or three sizes of at least 8 voxels, got {shape}.")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed must be a whole number from zero on, got {seed!r}.")
    image, labels, plane = template()
    if len(shape) == 2:
        image, labels = image[:, :, plane], labels[:, :, plane]
    generator = torch.Generator().manual_seed(seed)
    displacement, inverse = (motion or INTER_SUBJECT).draw(shape, generator)
    still = torch.zeros_like(displacement)
    pictures = [_look(image, labels, field) for field in (inverse, still)]
    (moving, moving_labels), (fixed, fixed_labels) = pictures
    grain = [noise * torch.randn((1, *shape), generator=generator) for _ in range(2)]
    return Pair(
        moving=(moving + grain[0]).clamp(0, 1),
        fixed=(fixed + grain[1]).clamp(0, 1),
        moving_labels=moving_labels,
        fixed_labels=fixed_labels,
        displacement=displacement,
        region=fixed_labels > 0,
        label_names=dict(LABELS),
        spacing=tuple(float(full) / size for full, size in zip(image.shape[1:], shape, strict=True)),
        name=f"mni152-{seed}",
    )


@cache
def template() -> tuple[Tensor, Tensor, int]:
    """T1 `(1, 197, 233, 189)` in [0, 1] at 1 mm, its labels, and the index of the section that 2-D pairs show.

    Raises:
        ImportError: nilearn is not installed.
    """
    try:
        from nilearn import datasets
    except ImportError as error:
        raise ImportError('templates need nilearn, which is not installed: pip install "moereg[brain]".') from error
    maps = [load(resolution=1) for load in (
        datasets.load_mni152_template, datasets.load_mni152_gm_template, datasets.load_mni152_wm_template,
    )]  # fmt: skip
    head, grey, white = (_oriented(volume) for volume in maps)
    brain = head > 0.02 * head.max()
    labels = torch.where(white > torch.maximum(grey, torch.tensor(0.3)), 2, torch.where(grey > 0.3, 1, 3))
    plane = int(head.shape[1] * 0.55)
    return (head / head.max()).clamp(0, 1)[None], (labels * brain)[None], plane


def _oriented(volume: nib.Nifti1Image) -> Tensor:
    """Data with axes to the feet, to the back and to the left."""
    canonical = nib.as_closest_canonical(volume)  # to the right, front and head
    data = np.asarray(canonical.dataobj, dtype=np.float32)[::-1, ::-1, ::-1].transpose(2, 1, 0)
    return torch.from_numpy(data.copy())


def _look(image: Tensor, labels: Tensor, field: Tensor) -> tuple[Tensor, Tensor]:
    """Image and labels on the grid of `field`, displaced by it: averaged over a voxel, then read at its centre."""
    shape = field.shape[1:]
    resize = {2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}[len(shape)]
    small = tuple(min(full, size) for full, size in zip(image.shape[1:], shape, strict=True))
    one_hot = F.one_hot(labels[0], len(LABELS) + 1).movedim(-1, 0).float()
    maps = resize(torch.cat([image, one_hot])[None], small)
    if small != tuple(shape):
        maps = F.interpolate(maps, shape, mode="bilinear" if len(shape) == 2 else "trilinear", align_corners=False)
    maps = sample(maps, field[None])[0]
    return maps[:1], maps[1:].argmax(0, keepdim=True)
