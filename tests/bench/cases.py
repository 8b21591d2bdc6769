"""What `make bench` compares: each operation beside another implementation of the same values.

A case builds two steps on the same inputs. A step runs forward and backward and returns the value and the gradients
(classical Demons: the displacement), so that it can be checked before it is timed. Float32, batch 1.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from moereg import fields, similarity
from moereg.classical import demons
from moereg.filters import gaussian_taps, smooth, smoothing_matrix
from moereg.nn import MixtureOfAttentionHeads, SpatialHeterogeneousMoE

Step = Callable[[], tuple[Tensor, ...]]


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    operation: str
    against: str
    build: Callable[[int], tuple[Step, Step]]  # edge of the volume in voxels -> our step, the other one
    size: int
    faster: float  # the aim: at least so many times as fast
    memory: float | None = None  # the aim: at most so much of the other's peak memory
    rounds: int = 9
    tolerance: float = 1e-3  # of the difference, relative; float32 sums in another order
    same: bool = True  # False: the two compute different things on purpose, and only cost is compared

    @property
    def name(self) -> str:
        return f"{self.operation}, {self.size}^3"


def lncc(size: int) -> tuple[Step, Step]:
    """Window 9, zero padding as in MONAI, gradient to the warped image. Our epsilon divides by window^6 less."""
    from monai.losses import LocalNormalizedCrossCorrelationLoss

    warped, fixed = _image(size, 0), _image(size, 1)
    fixed = (0.5 * warped + 0.5 * fixed).detach()
    warped.requires_grad_()
    theirs = LocalNormalizedCrossCorrelationLoss(spatial_dims=3, kernel_size=9, smooth_dr=1e-5)
    return (
        _step(lambda: similarity.lncc(warped, fixed, 9, epsilon=1e-12, border="zeros"), [warped]),
        _step(lambda: theirs(warped, fixed), [warped]),
    )


def warp(size: int) -> tuple[Step, Step]:
    """One channel, border padding, gradient to image and field."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI says that it uses grid_sample
        from monai.networks.blocks import Warp

        theirs = Warp(mode="bilinear", padding_mode="border")
    image, field = _field(size)[:, :1].clone().requires_grad_(), _field(size).requires_grad_()  # both smooth
    return (
        _step(lambda: fields.warp(image, field), [image, field]),
        _step(lambda: theirs(image, field), [image, field]),
    )


def scaling_and_squaring(size: int) -> tuple[Step, Step]:
    """Seven steps."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from monai.networks.blocks import DVF2DDF

        theirs = DVF2DDF(num_steps=7, mode="bilinear", padding_mode="border")
    velocity = _field(size).requires_grad_()
    return _step(lambda: fields.exponentiate(velocity, 7), [velocity]), _step(lambda: theirs(velocity), [velocity])


def attention_heads(window: int) -> Callable[[int], tuple[Step, Step]]:
    """N = 8 heads, k = 2, 96 channels. The other: every head on every token, gated after."""

    def build(size: int) -> tuple[Step, Step]:
        torch.manual_seed(0)
        sparse = MixtureOfAttentionHeads(96, heads=8, k=2, window=window, compute="sparse")
        dense = MixtureOfAttentionHeads(96, heads=8, k=2, window=window, compute="dense")
        dense.load_state_dict(sparse.state_dict())
        features = (
            torch.randn(1, 96, size, size, size).contiguous(memory_format=torch.channels_last_3d).requires_grad_()
        )
        return tuple(
            _step(lambda layer=layer: layer(features)[0], [features, *layer.parameters()]) for layer in (sparse, dense)
        )

    return build


def experts(kind: str) -> Callable[[int], tuple[Step, Step]]:
    """The layer, features to displacement: experts of extent 1, 3, 5, 7 on 16 channels, k = 2, 3 directions.

    The other is always the naive form with full kernels: each direction evaluates every expert, stacks the results,
    multiplies them with the gates and reads out its component. Both get features stored channels last, as the
    library's decoder stores them.
    """

    def build(size: int) -> tuple[Step, Step]:
        torch.manual_seed(0)
        full = SpatialHeterogeneousMoE(16, dims=3, kind="full")
        layer = full if kind == "full" else SpatialHeterogeneousMoE(16, dims=3, kind=kind)
        features = torch.randn(1, 16, size, size, size).contiguous(memory_format=torch.channels_last_3d)
        ours, theirs = features.clone().requires_grad_(), features.clone().requires_grad_()
        return (
            _step(lambda: layer(ours)[0], [ours, *layer.parameters()]),
            _step(lambda: naive_shmoe(full, theirs), [theirs, *full.parameters()]),
        )

    return build


def naive_shmoe(layer: SpatialHeterogeneousMoE, features: Tensor) -> Tensor:
    """`SpatialHeterogeneousMoE` as one would write it first: D x N convolutions, stacked, gated, summed, read out."""
    routing = layer.router(features)
    components = []
    for direction in range(layer.dims):
        stacked = torch.stack([convolve(features) for convolve in layer.experts.convolutions], dim=1)
        mixed = (stacked * routing.gates[:, direction, :, None]).sum(1)
        components.append(torch.einsum("c,bczyx->bzyx", layer.readout[direction], mixed))
    return torch.stack(components, dim=1)


def demons_iterations(variant: str) -> Callable[[int], tuple[Step, Step]]:
    """Twenty iterations on one level, elastic smoothing of one voxel; displacements in voxels are compared.

    Both volumes are smooth noise: differences everywhere, no background to skip. SimpleITK's Thirion filter smooths
    before each iteration; its other two treat voxels that are pulled from outside the image differently, which after
    twenty iterations is one per cent of the field.
    """

    def build(size: int) -> tuple[Step, Step]:
        import SimpleITK as sitk

        filters = {
            "thirion": sitk.DemonsRegistrationFilter,
            "symmetric": sitk.FastSymmetricForcesDemonsRegistrationFilter,
            "diffeomorphic": sitk.DiffeomorphicDemonsRegistrationFilter,
        }
        images = smooth(torch.cat([_image(size, 0), _image(size, 1)]), [smoothing_matrix(_taps(), size)] * 3)
        moving, fixed = ((images - images.min()) / (images.max() - images.min())).split(1)
        volumes = [sitk.GetImageFromArray(image[0, 0].numpy()) for image in (fixed, moving)]
        registration = filters[variant]()
        registration.SetNumberOfIterations(20)
        registration.SetMaximumRMSError(0)
        registration.SetStandardDeviations(1.0)
        registration.SetNumberOfThreads(torch.get_num_threads())

        def ours() -> tuple[Tensor]:
            before = variant == "thirion"
            return (demons(moving, fixed, variant, iterations=20, levels=1, smooth_before=before).displacement,)

        def theirs() -> tuple[Tensor]:
            field = sitk.GetArrayFromImage(registration.Execute(*volumes))
            return (torch.from_numpy(field).float().flip(-1).movedim(-1, 0)[None],)

        return ours, theirs

    return build


def _taps() -> Tensor:
    return gaussian_taps(torch.tensor(2.0), 8)


def _step(forward: Callable[[], Tensor], leaves: list[Tensor]) -> Step:
    weight = None

    def step() -> tuple[Tensor, ...]:
        nonlocal weight
        value = forward()
        if weight is None:  # the same for both steps
            weight = torch.rand(value.shape, generator=torch.Generator().manual_seed(0))
        return value, *torch.autograd.grad(value, leaves, weight)

    return step


def _image(size: int, seed: int) -> Tensor:
    return torch.rand(1, 1, size, size, size, generator=torch.Generator().manual_seed(seed))


def _field(size: int) -> Tensor:
    """Smooth, some three voxels."""
    coarse = 3 * torch.randn(1, 3, 8, 8, 8, generator=torch.Generator().manual_seed(2))
    return F.interpolate(coarse, size=(size,) * 3, mode="trilinear")


NAIVE = "naive form with full kernels"
CASES = [
    Case("LNCC, window 9", "MONAI LocalNormalizedCrossCorrelationLoss", lncc, 64, 6, 0.6, rounds=15),
    Case("LNCC, window 9", "MONAI LocalNormalizedCrossCorrelationLoss", lncc, 128, 6, 0.6, rounds=5),
    Case("warp, gradient to image and field", "MONAI Warp", warp, 96, 2),
    Case("scaling and squaring, 7 steps", "MONAI DVF2DDF", scaling_and_squaring, 96, 1.6, rounds=5),
    Case("MoA, 2 of 8 heads, windows of 8^3", "all heads, gated after", attention_heads(8), 24, 2.5),
    Case("MoA, 2 of 8 heads, windows of 4^3", "all heads, gated after", attention_heads(4), 24, 1.4, rounds=15),
    Case("SHMoE, full kernels", NAIVE, experts("full"), 48, 2.7, 0.5, rounds=3),
    Case("SHMoE, full kernels", NAIVE, experts("full"), 64, 2.7, 0.5, rounds=3),
    Case("SHMoE, nested kernels (default)", NAIVE, experts("nested"), 48, 8, rounds=3, same=False),
    Case("SHMoE, nested kernels (default)", NAIVE, experts("nested"), 64, 8, rounds=3, same=False),
    Case("SHMoE, separable kernels", NAIVE, experts("separable"), 48, 2.7, rounds=3, same=False),
    *(
        Case(f"Demons, {variant}", "SimpleITK", demons_iterations(variant), size, 2, rounds=3, tolerance=0.02)
        for variant in ("thirion", "symmetric", "diffeomorphic")
        for size in (64, 96)
    ),
]
