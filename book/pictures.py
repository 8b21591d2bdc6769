"""Pictures of the site: files of their own, as few bytes as look the same, loaded when a reader comes to them.

A notebook holds its pictures as PNG, and views hold theirs as text inside the page. The build writes each into a file,
in the smallest of a few encodings that `alike` cannot tell from what was drawn; a page then loads what it shows.
"""

import base64
import hashlib
import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

SMALL = 8_000  # bytes; what is smaller stays as it is
LEAST_LIGHT, LEAST_COLOUR = 38.0, 32.0  # decibels, peak 255, over the whole picture
WORST_BLOCK = 6.0  # levels of 255: mean error in brightness of the worst square of BLOCK pixels
BLOCK = 16
QUALITIES = (70, 82, 92)  # of WebP with losses, tried in this order
EMBEDDED = re.compile(r"data:image/(png|webp);base64,([A-Za-z0-9+/=]{200,})")
TAG = re.compile(r'<img(?=[^>]* src="(?P<src>(?:\.\./)*_images/[^"]+)")(?P<rest>[^>]*?)(?P<end>\s*/?>)')


def shrink(site: Path) -> None:
    """Write the pictures of all pages below `site` anew, and let the pages show those, in place."""
    folder = site / "_images"
    folder.mkdir(exist_ok=True)
    renamed = {path.name: smaller(path).name for path in sorted(folder.glob("*.png"))}
    sizes: dict[str, tuple[int, int]] = {}

    def size(name: str) -> tuple[int, int]:
        if name not in sizes:
            with Image.open(folder / name) as image:
                sizes[name] = image.size
        return sizes[name]

    for page in site.rglob("*.html"):
        if "_static" in page.relative_to(site).parts:
            continue
        text = page.read_text(encoding="utf-8")
        root = "../" * (len(page.relative_to(site).parts) - 1)
        changed = EMBEDDED.sub(lambda found, root=root: f"{root}_images/{extract(found, folder)}", text)
        changed = re.sub(r"_images/([\w.-]+\.png)", lambda found: f"_images/{renamed.get(found[1], found[1])}", changed)
        changed = reserve(changed, size)
        if changed != text:
            page.write_text(changed, encoding="utf-8")


def extract(found: re.Match, folder: Path) -> str:
    """Write a picture that stood inside a page into a file of `folder`; its name."""
    content = base64.b64decode(found[2])
    name = f"{hashlib.sha256(content).hexdigest()[:32]}.{found[1]}"
    path = folder / name
    if not path.exists() and not path.with_suffix(".webp").exists():
        path.write_bytes(content)
        path = smaller(path)
    return path.name if path.exists() else path.with_suffix(".webp").name


def reserve(page: str, size: Callable[[str], tuple[int, int]]) -> str:
    """The page with width and height for every picture, so that nothing jumps, and later ones loaded when needed."""
    seen = 0

    def put(found: re.Match) -> str:
        nonlocal seen
        seen += 1
        more = ""
        if not re.search(r"\s(?:width|height)=", found["rest"]):
            wide, high = size(found["src"].rsplit("/", 1)[1])
            more += f' width="{wide}" height="{high}"'
        if seen > 1 and " loading=" not in found["rest"]:
            more += ' loading="lazy"'
        return f"<img{found['rest']}{more}{found['end']}"

    return TAG.sub(put, page)


# ---- one picture ----


def smaller(path: Path) -> Path:
    """Write a PNG or WebP anew where another encoding has fewer bytes and looks the same; where it is then."""
    if path.suffix != ".png" or path.stat().st_size <= SMALL:
        return path
    with Image.open(path) as opened:
        content = encoded(opened)
    if content is None or len(content) >= path.stat().st_size:
        return path
    target = path.with_suffix(".webp")
    target.write_bytes(content)
    path.unlink()
    return target


def encoded(image: Image.Image) -> bytes | None:
    """The smaller WebP that looks the same: without losses, or with as many as `alike` lets pass."""
    image = flat(image)
    drawn = np.asarray(image)
    candidates = [_webp(image, lossless=True, quality=40)]
    for quality in QUALITIES:
        content = _webp(image, quality=quality)
        if len(content) >= len(candidates[0]):
            break
        if alike(drawn, np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))):
            candidates.append(content)
            break
    return min(candidates, key=len)


def flat(image: Image.Image) -> Image.Image:
    """On white, without transparency."""
    if image.mode in ("RGBA", "LA", "P"):
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(ground, image)
    return image.convert("RGB")


def alike(drawn: np.ndarray, other: np.ndarray) -> bool:
    """Whether two pictures `(H, W, 3)` of bytes look the same.

    Eyes see brightness at every pixel and colour more coarsely, so colour is compared at every second one; no square of
    `BLOCK` pixels may be much off in brightness, however well the rest fits.
    """
    (light, colour), (other_light, other_colour) = _parts(drawn), _parts(other)
    brightness, hue = np.abs(light - other_light), colour - other_colour
    if _psnr(brightness) < LEAST_LIGHT or _psnr(hue) < LEAST_COLOUR:
        return False
    return float(_blocks(brightness, BLOCK).max()) <= WORST_BLOCK


def _parts(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Brightness `(H, W)`, and both differences of colour `(H / 2, W / 2, 2)`."""
    parts = np.asarray(Image.fromarray(picture).convert("YCbCr"), dtype=np.float32)
    return parts[..., 0], np.stack([_blocks(parts[..., channel], 2) for channel in (1, 2)], axis=2)


def _blocks(values: np.ndarray, side: int) -> np.ndarray:
    """Means over squares; a rest that fills no square is left out."""
    side = min(side, *values.shape)
    high, wide = (length // side for length in values.shape)
    return values[: high * side, : wide * side].reshape(high, side, wide, side).mean(axis=(1, 3))


def _psnr(error: np.ndarray) -> float:
    return float(10 * np.log10(255.0**2 / max(float(np.mean(error**2)), 1e-9)))


def _webp(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", method=3, **options)
    return buffer.getvalue()
