"""`register_files`: two files of any grids, one map between them, and what can be said of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from moereg.alignment import Alignment, align, common_frame, same_grid
from moereg.apply import measures, methods
from moereg.apply.page import write_page
from moereg.apply.preprocessing import far_from_training, normalised
from moereg.apply.scans import Scan, canonical, check_outputs, itk_elsewhere, read_scan, write_field, write_scan
from moereg.apply.verdict import Findings, told_inverse, verdict
from moereg.apply.views import as_seen
from moereg.data.filepairs import normalise
from moereg.data.onegrid import thin_axis
from moereg.data.pairs import Pair
from moereg.data.volumes import Grid, Volume
from moereg.files import together
from moereg.models import TrainedOn
from moereg.physical import as_stored, covered, invert, jacobian, on_own_axes, pull, whole_map
from moereg.regularity import fold_fraction


@dataclass(frozen=True)
class Registered:
    """What came of a pair of files."""

    paths: list[Path]  # written, in the order in which they are named in `register_files`
    said: list[str]  # what was done and measured, line by line
    numbers: dict[str, float | str]  # the same for a table of many pairs


@dataclass(frozen=True)
class Inputs:
    """All files of a pair, read."""

    moving: Scan
    fixed: Scan
    labels: Scan | None
    fixed_labels: Scan | None
    mask: Tensor | None  # (1, *S) on the fixed file's grid, bool


def register_files(
    moving: str | Path,
    fixed: str | Path,
    *,
    out: str | Path,
    weights: str | Path | None = None,
    method: str | None = None,
    init: str = "auto",
    refine_steps: int = 0,
    similarity: str | None = None,
    mask: str | Path | None = None,
    labels: str | Path | None = None,
    fixed_labels: str | Path | None = None,
    inverse: bool = False,
    with_jacobian: bool = False,
    report: bool = True,
    device: str = "auto",
    choose: Callable[[int], methods.Choice] | None = None,
) -> Registered:
    """Register two files (NIfTI, .mgz, .nrrd, .mha) that lie on any two grids.

    First a linear alignment (`moereg.alignment`), then a deformation, both composed into one displacement. Into `out`
    go, on the fixed file's own array grid and orientation,

    - `warped.nii.gz`: the native moving image, interpolated once; outside it its smallest value,
    - `displacement.nii.gz`: the whole map as ITK and ANTs read it, applied to the native moving image (ITK's result is
      the warped one but for rounding: it places voxels of a turned NIfTI file some 1e-5 mm from where the affine does,
      `moereg.apply.scans.itk_elsewhere`, which at a steep edge is a millionth of the range; other headers are told of),
    - `warped_labels.nii.gz` (with `labels`), `jacobian.nii.gz` (`with_jacobian`): determinant of the whole map,
    - `inverse.nii.gz` (`inverse`): the map back, on the moving file's grid,
    - `report.html` (`report`).

    Args:
        weights: a file, or the name of a network in `data/weights`.
        method: a method without weights, a row of `moereg.classical.METHODS`. Without either, "greedy".
        init: "auto", "none", "centre", "rigid" or "affine".
        refine_steps: of instance optimisation after the method; 0 is none. The report shows the network's routing,
            not what came after it.
        similarity: "lncc", "mse" or "mi", of what optimises. Default: "lncc".
        mask: file on the fixed image's grid, above zero where the images count: in the alignment, in the optimisation
            and in the similarity that is reported.
        labels: of the moving image, on any grid of its space; warped with the nearest voxel.
        fixed_labels: on the fixed image's grid; with `labels`, Dice is measured.
        choose: number of axes -> method, for whoever registers many pairs and made it already.

    Raises:
        FileNotFoundError, ValueError: one sentence naming the file or argument; nothing is written then.
    """
    out, started = Path(out), time.perf_counter()
    methods.check_options(weights, method, refine_steps, similarity, mask is not None)
    targets = _targets(out, labels is not None, inverse, with_jacobian, report)
    check_outputs(targets, [moving, fixed, labels, fixed_labels, mask])
    inputs = _read(moving, fixed, labels, fixed_labels, mask)
    thin = thin_axis(canonical(inputs.fixed.volume).grid)
    how = {"refine_steps": refine_steps, "similarity": similarity or "lncc", "device": device}
    dims = 3 if thin is None else 2
    chosen = methods.choose(weights, method, dims=dims, **how) if choose is None else choose(dims)
    canon = canonical(inputs.fixed.volume)
    canon_mask = None if inputs.mask is None else _canonical_mask(inputs)
    alignment = align(
        canonical(inputs.moving.volume), canon, init, mask=None if canon_mask is None else canon_mask[0].numpy()
    )
    pair = _on_fixed_grid(inputs, canon, alignment, thin, chosen.trained)
    network_mask = None if canon_mask is None else _squeezed(canon_mask, thin)[None]
    done, warnings = far_from_training([pair.moving, pair.fixed], pair.spacing or (), chosen.trained)
    warnings += methods.too_small(similarity, pair.shape)
    warnings += [*itk_elsewhere(inputs.moving), *itk_elsewhere(inputs.fixed)]
    forward = _run(chosen, pair, network_mask)
    backward = _run(chosen, pair, network_mask, exchanged=True)
    stages = _stages(inputs, canon.grid, alignment, forward, thin)
    whole = stages["registered"]

    outside = float(inputs.moving.data.min())
    images = {
        name: pull(inputs.moving.data, inputs.moving.grid, field, outside=outside) for name, field in stages.items()
    }
    warped = images["registered"][0]
    agreement = {
        name: measures.local_correlation(_near(image), _near(inputs.fixed.data), inputs.mask)
        for name, (image, _) in images.items()
    }
    findings = Findings(
        similarity=(agreement["before"], agreement["aligned"], agreement["registered"]),
        folds=float(fold_fraction(forward)),
        inverse_error=measures.inverse_consistency(forward, backward),
        uncovered=1 - float(covered(whole, inputs.moving.grid).double().mean()),
    )
    dices = {}
    if inputs.labels is not None and inputs.fixed_labels is not None:
        dices = measures.overlaps(inputs.labels.data, inputs.labels.grid, stages, inputs.fixed_labels.data)
    said = [alignment.said, chosen.said, *done, *warnings]
    said += _told(agreement, findings, dices)
    said.append(verdict(findings))
    numbers = _numbers(agreement, findings, dices) | {"verdict": said[-1]}

    flat = inputs.fixed.flat
    with together(targets) as unfinished:
        write_scan(unfinished[0], warped.float(), inputs.fixed.grid, flat=flat)
        write_field(unfinished[1], whole, flat=flat)
        rest = iter(unfinished[2:])
        if inputs.labels is not None:
            moved, _ = pull(inputs.labels.data, inputs.labels.grid, whole, mode="nearest")
            write_scan(next(rest), moved.round().long(), inputs.fixed.grid, flat=flat)
        if with_jacobian:
            write_scan(next(rest), jacobian(whole)[None].float(), inputs.fixed.grid, flat=flat)
        if inverse:
            back = invert(whole, inputs.moving.grid)
            write_field(next(rest), back.field, flat=inputs.moving.flat)
            said.insert(-1, told_inverse(back.residual[back.reached], back.reached))
        if report:
            seconds = time.perf_counter() - started
            told = {"said": said, "findings": findings, "dices": dices, "seconds": seconds}
            write_page(next(rest), pair, forward, chosen.model, as_seen(pair, chosen.trained), **told)
    seconds = round(time.perf_counter() - started, 2)
    return Registered(targets, said, numbers | {"seconds": seconds})


def _read(moving, fixed, labels, fixed_labels, mask) -> Inputs:
    scans = [read_scan(moving), read_scan(fixed)]
    common_frame(scans[0].grid, scans[1].grid)  # a slice and a volume are refused here
    if scans[0].flat != scans[1].flat:
        raise ValueError(f"{moving} and {fixed} must both be 2-D files or both have three axes.")
    if fixed_labels is not None and labels is None:
        raise ValueError("--fixed-labels needs --labels, the labels of the moving image.")
    own = None if labels is None else read_scan(labels, labels=True)
    theirs = None if fixed_labels is None else read_scan(fixed_labels, labels=True)
    region = None if mask is None else read_scan(mask)
    for scan, option in ((theirs, "--fixed-labels"), (region, "--mask")):
        if scan is not None and not same_grid(scan.grid, scans[1].grid):
            raise ValueError(f"{option} {scan.path} must lie on the grid of the fixed image {fixed}.")
    if region is not None and not bool((region.data > 0).any()):
        raise ValueError(f"--mask {mask} must be above zero somewhere.")
    return Inputs(scans[0], scans[1], own, theirs, None if region is None else region.data > 0)


def _targets(out: Path, labels: bool, inverse: bool, with_jacobian: bool, report: bool) -> list[Path]:
    names = ["warped.nii.gz", "displacement.nii.gz"]
    names += ["warped_labels.nii.gz"] * labels + ["jacobian.nii.gz"] * with_jacobian
    names += ["inverse.nii.gz"] * inverse + ["report.html"] * report
    return [out / name for name in names]


def _canonical_mask(inputs: Inputs) -> Tensor:
    assert inputs.mask is not None
    volume = type(inputs.fixed.volume)(inputs.mask.float(), inputs.fixed.grid)
    return canonical(volume).data > 0.5


def _on_fixed_grid(
    inputs: Inputs, canon: Volume, alignment: Alignment, thin: int | None, trained: TrainedOn | None
) -> Pair:
    """The linearly aligned moving image and the fixed one, normalised, on the fixed image's canonical grid."""
    moving = canonical(inputs.moving.volume)
    if alignment.kind == "none" and same_grid(moving.grid, canon.grid):
        moved = moving.data  # as it is: reading at whole voxels would still round, and routers see that
    else:
        aligned = whole_map(torch.zeros(3, *canon.grid.shape), canon.grid, alignment.matrix)
        moved, _ = pull(inputs.moving.data, inputs.moving.grid, aligned, outside=None)
    spacing = canon.spacing if thin is None else tuple(np.delete(canon.spacing, thin))
    return Pair(
        normalised(_squeezed(moved.float(), thin), trained),
        normalised(_squeezed(canon.data, thin), trained),
        spacing=spacing,
        name=f"{inputs.moving.path.name} to {inputs.fixed.path.name}",
    )


def _run(chosen: methods.Choice, pair: Pair, mask: Tensor | None, *, exchanged: bool = False) -> Tensor:
    first, second = (pair.fixed, pair.moving) if exchanged else (pair.moving, pair.fixed)
    # What counts is known of the fixed image alone: the way back is not masked.
    mask = None if exchanged else mask
    result = methods.register_pair(chosen, first[None], second[None], mask, pair.spacing or ())
    return result.displacement.detach().float().cpu()


def _stages(inputs: Inputs, grid: Grid, alignment: Alignment, forward: Tensor, thin: int | None) -> dict:
    """Stage -> the whole map so far, on the fixed file's own axes, with the digits of a file."""
    shape = grid.shape
    moved = forward[0] if thin is None else _thickened(forward[0], thin)
    still = torch.zeros(3, *shape)
    plane = common_frame(inputs.moving.grid, inputs.fixed.grid)
    believed = plane.lift(np.eye(plane.dims + 1))
    parts = ((still, believed), (still, alignment.matrix), (moved, alignment.matrix))
    maps = [as_stored(on_own_axes(whole_map(u, grid, matrix), inputs.fixed.grid)) for u, matrix in parts]
    return dict(zip(measures.STAGES, maps, strict=True))


def _squeezed(data: Tensor, thin: int | None) -> Tensor:
    return data if thin is None else data.squeeze(1 + thin)


def _thickened(displacement: Tensor, thin: int) -> Tensor:
    """`(2, *S)` of a slice -> `(3, *S)`: nothing moves across it."""
    channels = list(displacement.unsqueeze(1 + thin))
    channels.insert(thin, torch.zeros_like(channels[0]))
    return torch.stack(channels)


def _near(image: Tensor) -> Tensor:
    return normalise(image.float())


def _told(agreement: dict[str, float], found: Findings, dices: dict[str, dict[int, float]]) -> list[str]:
    lines = ["local correlation: " + ", ".join(f"{value:.3f} {stage}" for stage, value in agreement.items())]
    if dices:
        lines.append(
            "Dice, mean: " + ", ".join(f"{measures.mean(value):.3f} {stage}" for stage, value in dices.items())
        )
    lines.append(f"folded voxels: {100 * found.folds:.3f} %")
    lines.append(f"inverse consistency: both directions differ by {found.inverse_error:.2f} voxels on average")
    lines.append(f"the moving image covers {1 - found.uncovered:.0%} of the fixed one")
    return lines


def _numbers(agreement: dict[str, float], found: Findings, dices: dict[str, dict[int, float]]) -> dict:
    """For a table: the columns of a pair, rounded to what means something."""
    values = {f"similarity_{stage}": value for stage, value in agreement.items()}
    values |= {f"dice_{stage}": measures.mean(scores) for stage, scores in dices.items()}
    values |= {"folds": found.folds, "inverse_error": found.inverse_error, "uncovered": found.uncovered}
    return {name: round(value, 6) for name, value in values.items()}
