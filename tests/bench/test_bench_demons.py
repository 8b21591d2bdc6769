"""Time of Demons against SimpleITK, both on the same threads, in turns in one process."""

import time

import pytest
import torch

from moereg.classical import demons
from moereg.filters import gaussian_taps, smooth, smoothing_matrix

sitk = pytest.importorskip("SimpleITK")
pytestmark = pytest.mark.bench

FILTERS = {
    "thirion": sitk.DemonsRegistrationFilter,
    "symmetric": sitk.FastSymmetricForcesDemonsRegistrationFilter,
    "diffeomorphic": sitk.DiffeomorphicDemonsRegistrationFilter,
}
ITERATIONS, ROUNDS = 20, 5


def pair(size):
    """Two smooth random volumes in [0, 1], `(1, 1, n, n, n)`: differences everywhere, no background to skip."""
    images = torch.rand(2, 1, size, size, size, generator=torch.Generator().manual_seed(0))
    images = smooth(images, [smoothing_matrix(gaussian_taps(torch.tensor(2.0), 8), size)] * 3)
    return ((images - images.min()) / (images.max() - images.min())).split(1)


def seconds(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


@pytest.mark.parametrize("size", [64, 96])
@pytest.mark.parametrize("variant", FILTERS)
def test_iterations_against_simpleitk(variant, size, capsys):
    moving, fixed = pair(size)
    volumes = [sitk.GetImageFromArray(image[0, 0].numpy()) for image in (fixed, moving)]
    registration = FILTERS[variant]()
    registration.SetNumberOfIterations(ITERATIONS)
    registration.SetMaximumRMSError(0)
    registration.SetStandardDeviations(1.0)
    registration.SetNumberOfThreads(torch.get_num_threads())

    def ours():
        return demons(moving, fixed, variant, iterations=ITERATIONS, levels=1)

    ours()  # the first call sets up thread pools
    times = [(seconds(ours), seconds(lambda: registration.Execute(*volumes))) for _ in range(ROUNDS)]
    mine, theirs = (min(column) / ITERATIONS * 1e3 for column in zip(*times, strict=True))
    with capsys.disabled():
        comparison = f"{mine:6.1f} ms an iteration, SimpleITK {theirs:6.1f} ms, ratio {theirs / mine:.2f}"
        print(f"\n{variant:>14} {size}^3: {comparison}")
    assert theirs > mine
