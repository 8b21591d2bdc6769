"""Apply a trained model to files."""

from pathlib import Path

import torch

from moereg import fields
from moereg.data.filepairs import normalise
from moereg.data.pairs import Pair
from moereg.data.volumes import check_same_grid, load_volume, save_displacement, save_volume
from moereg.models import load_model
from moereg.training import Refined, best_device
from moereg.viz.payload import explorer_payload
from moereg.viz.report import write_report


def register_files(
    moving: str | Path,
    fixed: str | Path,
    *,
    weights: str | Path,
    out: str | Path,
    device: str = "auto",
    refine_steps: int = 0,
) -> list[Path]:
    """Register two NIfTI files with a trained model.

    Both must lie on one grid (shape and affine), as after an affine registration. Written into `out`:
    `warped.nii.gz`, `displacement.nii.gz` (as ITK and ANTs read it), `report.html`.

    Args:
        weights: a file, or the name of a network in `data/weights`.
        refine_steps: of instance optimisation after the network (see `moereg.training.refine`); 0 is none. The report
            shows the network's routing, not what came after it.

    Raises:
        FileNotFoundError, ValueError: one sentence naming the file or argument.
    """
    out = Path(out)
    moving_volume, fixed_volume = load_volume(moving), load_volume(fixed)
    check_same_grid(moving_volume.grid, fixed_volume.grid)
    model = load_model(weights).to(best_device(device))
    place = next(model.parameters()).device
    pair = Pair(
        normalise(moving_volume.data),
        normalise(fixed_volume.data),
        spacing=fixed_volume.spacing,
        name=f"{Path(moving).name} to {Path(fixed).name}",
    )
    method = Refined(model, refine_steps) if refine_steps else model
    with torch.no_grad():
        result = method(pair.moving[None].to(place), pair.fixed[None].to(place))
    displacement = result.displacement[0].cpu()
    warped = fields.warp(moving_volume.data[None], displacement[None])[0]  # original intensities
    paths = [out / "warped.nii.gz", out / "displacement.nii.gz", out / "report.html"]
    out.mkdir(parents=True, exist_ok=True)
    save_volume(paths[0], warped, fixed_volume.affine)
    save_displacement(paths[1], displacement, fixed_volume.affine)
    write_report(paths[2], title=pair.name, payload=explorer_payload(model, pair))
    return paths
