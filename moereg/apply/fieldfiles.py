"""Fields that were saved: applied to other files, put one after another, turned round."""

from dataclasses import replace
from pathlib import Path

from moereg.apply.scans import check_ending, check_outputs, read_field, read_scan, write_field, write_scan
from moereg.apply.verdict import told_inverse
from moereg.physical import compose, covered, invert, pull


def apply_file(field: str | Path, image: str | Path, *, out: str | Path, labels: bool = False) -> list[str]:
    """Pull an image or a label map through a saved displacement, onto the field's grid.

    Args:
        field: of `moereg register`, ITK or ANTs.
        image: on any grid of the moving image's space.
        labels: read the nearest voxel and keep whole numbers.

    Returns:
        Lines to print.

    Raises:
        FileNotFoundError, ValueError: one sentence naming the file.
    """
    out = Path(out)
    check_ending(out)
    check_outputs([out], [Path(field), Path(image)])
    map_, flat = read_field(field)
    scan = read_scan(image, labels=labels)
    if flat != scan.flat:
        raise ValueError(f"{field} and {image} must both be 2-D files or both have three axes.")
    outside = 0.0 if labels else float(scan.data.min())
    pulled, inside = pull(scan.data, scan.grid, map_, mode="nearest" if labels else "linear", outside=outside)
    if not bool(inside.any()):
        raise ValueError(f"{field} leads nowhere into {image}: the two do not belong together.")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_scan(out, pulled.round().long() if labels else pulled.float(), map_.grid, flat=flat)
    return [f"{image} covers {float(inside.double().mean()):.0%} of the field's grid", str(out)]


def compose_files(first: str | Path, second: str | Path, *, out: str | Path) -> list[str]:
    """One field for two: `first` is the one that acted first on the moving image; the result lies on `second`'s grid.

    Raises:
        FileNotFoundError, ValueError: one sentence naming the file.
    """
    out = Path(out)
    check_ending(out)
    check_outputs([out], [Path(first), Path(second)])
    (one, flat), (other, other_flat) = read_field(first), read_field(second)
    if flat != other_flat:
        raise ValueError(f"{first} and {second} must both be 2-D fields or both have three axes.")
    inside = covered(other, one.grid)
    if not bool(inside.any()):
        raise ValueError(f"{second} leads nowhere into the grid of {first}: the two do not follow one another.")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_field(out, compose(one, other), flat=flat)
    share = float(inside.double().mean())
    return [f"{second} leads {share:.0%} of its voxels into the grid of {first}; the border goes on outside", str(out)]


def invert_file(field: str | Path, *, out: str | Path, like: str | Path | None = None) -> list[str]:
    """The map back. Best on the moving image's grid (`like`); on the field's own otherwise.

    Raises:
        FileNotFoundError, ValueError: one sentence naming the file.
    """
    out = Path(out)
    check_ending(out)
    check_outputs([out], [Path(field), None if like is None else Path(like)])
    map_, flat = read_field(field)
    grid = map_.grid if like is None else read_scan(like).grid
    back = invert(map_, replace(grid, name=str(out)))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_field(out, back.field, flat=flat)
    return [told_inverse(back.residual[back.reached], back.reached), str(out)]
