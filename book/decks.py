"""Slides of every chapter as PDF, to be taken away. Printed by Chromium, once for every content of a deck.

    write(WORK / "slides", target, stems)      PDFs below `target`; the stems that have one

Where there is no Chromium, or no playwright to drive it, the site has no slides and its pages do not link to any.
"""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import nbformat

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"


def write(kept: Path, target: Path, stems: Sequence[str]) -> list[str]:
    """Put the decks into `target`; those that were printed before lie in `kept`, by their content."""
    try:
        from tools import slides  # needs playwright, which only the tests bring
    except ImportError:
        return []
    kept.mkdir(parents=True, exist_ok=True)
    slides.vendor(kept)
    used, done = {"vendor"}, []
    for stem in stems:
        deck = slides.slides_of(nbformat.read(NOTEBOOKS / f"{stem}.ipynb", as_version=4))
        page = slides.page(stem, deck)
        printed = kept / f"{stem}-{hashlib.sha256(page.encode()).hexdigest()[:16]}.pdf"
        used.add(printed.name)
        if not printed.exists():
            path = kept / f"{stem}.html"
            path.write_text(page, encoding="utf-8")
            made = slides.print_pdf(path)
            path.unlink()
            if made is None:
                continue
            made.rename(printed)
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(printed, target / f"{stem}.pdf")
        done.append(stem)
    for path in kept.iterdir():
        if path.name not in used:
            path.unlink()  # of a deck as it was
    return done
