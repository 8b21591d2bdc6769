"""What `make bench` compares: each operation beside another implementation of the same values.

A case builds two steps on the same inputs. A step runs forward and backward and returns the value and the gradients
(classical Demons: the displacement), so that it can be checked before it is timed. Float32, batch 1.
"""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import Tensor

from moereg import fields, models, similarity
from moereg.classical import METHODS, demons
from moereg.classical.itk import itk_demons
from moereg.data import phantoms
from moereg.filters import gaussian_taps, smooth, smoothing_matrix
from moereg.metrics import surface_distances
from moereg.nn import MixtureOfAttentionHeads, SpatialHeterogeneousMoE
from moereg.regularity import diffusion
from moereg.training import Refined

Step = Callable[[], tuple[Tensor, ...]]


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    operation: str
    against: str
    build: Callable[[int], tuple[Step, Step]]  # edge of the volume in voxels -> our step, the other one
    size: int
    aim: float | None  # at most so much of the other's time; None: only looked at
    memory: float | None = None  # at most so much of the other's peak memory
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
        registration.SetNumberOfThreads(fastest_threads(lambda: registration.Execute(*volumes), registration))

        def ours() -> tuple[Tensor]:
            before = variant == "thirion"
            return (demons(moving, fixed, variant, iterations=20, levels=1, smooth_before=before).displacement,)

        def theirs() -> tuple[Tensor]:
            field = sitk.GetArrayFromImage(registration.Execute(*volumes))
            return (torch.from_numpy(field).float().flip(-1).movedim(-1, 0)[None],)

        return ours, theirs

    return build


def fastest_threads(run: Callable[[], object], registration) -> int:
    """The number of threads with which a filter of SimpleITK is fastest here."""
    times = {}
    for count in range(1, torch.get_num_threads() + 1):
        registration.SetNumberOfThreads(count)
        began = time.perf_counter()
        run()
        times[count] = time.perf_counter() - began
    return min(times, key=times.__getitem__)


def inference(stem_stride: int) -> Callable[[int], tuple[Step, Step]]:
    """One pair, without a graph: SHMoAReg with default sizes beside MONAI's VoxelMorph with its own."""

    def build(size: int) -> tuple[Step, Step]:
        networks, images = _networks(stem_stride), (_image(size, 0), _image(size, 1))

        def step(network: torch.nn.Module) -> tuple[Tensor, ...]:
            with torch.no_grad():
                return (network(*images).displacement,)

        return tuple(partial(step, network) for network in networks)

    return build


def authors_inference(size: int) -> tuple[Step, Step]:
    """SHMoAReg with a field at every voxel beside the network of VoxelMorph's authors with its own sizes."""
    from voxelmorph.nn.models import VxmPairwise

    theirs, images = VxmPairwise(3, 1, 1), (_image(size, 0), _image(size, 1))

    def their_step() -> tuple[Tensor, ...]:
        with torch.no_grad():
            return (theirs(*images, return_warped_source=True)[0],)

    return inference(1)(size)[0], their_step


def training_step(stem_stride: int) -> Callable[[int], tuple[Step, Step]]:
    """Forward, loss (LNCC and diffusion) and backward; both directions of a pair are the batch, for both networks."""

    def build(size: int) -> tuple[Step, Step]:
        images = torch.cat([_image(size, 0), _image(size, 1)])

        def step(network: torch.nn.Module) -> tuple[Tensor, ...]:
            found = network(images, images.flip(0))
            loss = similarity.lncc(found.warped, images.flip(0)) + 0.1 * diffusion(found.displacement)
            network.zero_grad()
            loss.backward()
            return (loss.detach(),)

        return tuple(partial(step, network) for network in _networks(stem_stride))

    return build


def _networks(stem_stride: int) -> tuple[torch.nn.Module, torch.nn.Module]:
    torch.manual_seed(0)
    return models.build("shmoareg", stem_stride=stem_stride), models.build("voxelmorph")


def from_scratch(size: int) -> tuple[Step, Step]:
    """A pair without any training: our multi-resolution Demons, then instance optimisation; SimpleITK's Demons alike.

    Both on the same phantom and three resolutions, SimpleITK at its fastest thread count. The displacement is returned,
    whose Dice the table shows.
    """
    pair = scratch_pair(size)
    images = pair.moving[None], pair.fixed[None]
    ours = Refined(METHODS["demons-symmetric"], steps=5)
    with_threads = {count: partial(itk_demons, variant="symmetric", threads=count) for count in (1, 2)}
    times = {}
    for count, run in with_threads.items():
        began = time.perf_counter()
        run(*images, iterations=(4, 4, 2))
        times[count] = time.perf_counter() - began
    theirs = with_threads[min(times, key=times.__getitem__)]
    return (lambda: (ours(*images).displacement,)), (lambda: (theirs(*images).displacement,))


@lru_cache
def scratch_pair(size: int):
    return phantoms.make("abdomen", (size,) * 3, 9000)


def hausdorff(size: int) -> tuple[Step, Step]:
    """HD95 of ten labels by `surface_distances`; the other is MONAI's function on the whole volume, label by label."""
    grid = torch.stack(torch.meshgrid(*[torch.arange(size)] * 3, indexing="ij"))
    first, second = (torch.zeros(1, *[size] * 3, dtype=torch.long) for _ in range(2))
    draw = torch.Generator().manual_seed(3)
    for label in range(1, 11):
        middle = (torch.rand(3, generator=draw) * 0.6 + 0.2) * size
        for labels, shift in ((first, 0.0), (second, 2.0)):
            labels[0][(grid - middle.view(3, 1, 1, 1) - shift).norm(dim=0) < size / 12] = label
    shared = sorted(set(first.unique().tolist()) & set(second.unique().tolist()) - {0})

    def ours() -> tuple[Tensor]:
        return (torch.tensor(list(surface_distances(first, second, (1.0,) * 3)[0].values())),)

    def theirs() -> tuple[Tensor]:
        from monai.metrics.hausdorff_distance import compute_hausdorff_distance

        masks = [torch.stack([labels[0] == label for label in shared])[None].float() for labels in (first, second)]
        return (compute_hausdorff_distance(*masks, percentile=95, include_background=True)[0].float(),)

    return ours, theirs


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
VOXELMORPH = "MONAI VoxelMorph"
STEMS = {2: "every second voxel", 1: "every voxel"}
CASES = [
    *(
        Case(f"inference, field at {STEMS[stem]}", VOXELMORPH, inference(stem), size, aim, rounds=rounds, same=False)
        for stem, aim in ((2, 0.25), (1, 0.8))
        for size, rounds in ((48, 7), (64, 5), (96, 3), (128, 3))
    ),
    *(
        Case(f"training step, field at {STEMS[stem]}", VOXELMORPH, training_step(stem), size, aim, rounds=3, same=False)
        for stem, aim in ((2, 0.15), (1, 0.7))
        for size in (48, 64)
    ),
    *(
        Case(f"memory of a training step, field at {STEMS[stem]}", VOXELMORPH, training_step(stem), size, 1, memory,
             same=False, rounds=0)
        for stem, memory in ((2, 0.6), (1, 1.0))
        for size in (64, 96)
    ),
    Case("LNCC, window 9", "MONAI LocalNormalizedCrossCorrelationLoss", lncc, 64, 1 / 6, 0.6, rounds=15),
    Case("LNCC, window 9", "MONAI LocalNormalizedCrossCorrelationLoss", lncc, 128, 1 / 6, 0.6, rounds=5),
    Case("warp, gradient to image and field", "MONAI Warp", warp, 128, 0.33, rounds=7),
    Case("scaling and squaring, 7 steps", "MONAI DVF2DDF", scaling_and_squaring, 96, 0.45, rounds=5),
    Case("MoA, 2 of 8 heads, windows of 8^3", "all heads, gated after", attention_heads(8), 24, 0.4),
    Case("MoA, 2 of 8 heads, windows of 4^3", "all heads, gated after", attention_heads(4), 24, 0.71, rounds=15),
    Case("SHMoE, full kernels", NAIVE, experts("full"), 48, 0.37, 0.5, rounds=3),
    Case("SHMoE, nested kernels (default)", NAIVE, experts("nested"), 48, 0.125, rounds=3, same=False),
    Case("SHMoE, separable kernels", NAIVE, experts("separable"), 48, 0.37, rounds=3, same=False),
    *(
        Case(f"Demons, {variant}", "SimpleITK", demons_iterations(variant), size, 0.38, rounds=3, tolerance=0.02)
        for variant in ("thirion", "symmetric", "diffeomorphic")
        for size in (64, 96)
    ),
    Case("a pair from scratch", "SimpleITK, multi-resolution Demons", from_scratch, 128, 1, rounds=1, same=False),
    Case("HD95 of ten labels", "MONAI compute_hausdorff_distance", hausdorff, 128, 0.45, rounds=3),
]  # fmt: skip
if find_spec("voxelmorph"):
    CASES += [
        Case("inference beside the authors' own, field at every voxel", "voxelmorph VxmPairwise", authors_inference,
             size, None, rounds=3, same=False)
        for size in (64, 96)
    ]  # fmt: skip
