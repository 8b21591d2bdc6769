"""Figures of notebooks as WebP: the same to the eye, a fraction of the bytes of PNG."""

import re
from pathlib import Path

from PIL import Image

SMALL = 30_000  # bytes; what is smaller stays as it is
QUALITY = 88


def shrink(site: Path) -> None:
    """Write figures below `site/_images` anew where that makes them smaller, and let the pages show those."""
    renamed = {}
    for path in sorted((site / "_images").glob("*.png")):
        if path.stat().st_size > SMALL:
            target = path.with_suffix(".webp")
            with Image.open(path) as image:
                image.save(target, quality=QUALITY, method=3)
            smaller, other = (target, path) if target.stat().st_size < path.stat().st_size else (path, target)
            other.unlink()
            renamed |= {path.name: smaller.name} if smaller is target else {}
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        changed = re.sub(r"_images/([\w.-]+\.png)", lambda found: f"_images/{renamed.get(found[1], found[1])}", text)
        if changed != text:
            page.write_text(changed, encoding="utf-8")
