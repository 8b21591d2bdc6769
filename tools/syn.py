"""ANTs' SyN as a method: images in, displacement out. Needs antspyx (extra `compare`)."""

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from moereg.fields import sample
from moereg.models import Registration


def there() -> bool:
    """Whether antspyx is installed."""
    return find_spec("ants") is not None


def syn(moving: Tensor, fixed: Tensor) -> Registration:
    """SyN with its own schedule, no linear alignment before it; a batch of one, `(1, 1, *S)`, as many threads as torch.

    ANTs orders axes as the array does (from_numpy keeps them) and its displacement pulls, as ours: nothing is flipped.
    """
    # ITK reads it once, when it is loaded.
    os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", str(torch.get_num_threads()))
    import ants

    images = (ants.from_numpy(image[0, 0].float().numpy()) for image in (fixed, moving))
    found = ants.registration(*images, type_of_transform="SyNOnly", initial_transform="identity", random_seed=0)
    (warp,) = (path for path in found["fwdtransforms"] if "Warp" in Path(path).name)
    vectors = ants.image_read(warp).numpy()  # (*S, D)
    for path in {*found["fwdtransforms"], *found["invtransforms"]}:
        Path(path).unlink(missing_ok=True)  # ANTs leaves them in the folder of temporary files
    displacement = torch.from_numpy(np.moveaxis(vectors, -1, 0).copy()).to(moving.dtype)[None]
    return Registration(displacement, sample(moving, displacement))
