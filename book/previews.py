"""A description and a picture for every page: what search engines and previews of links show.

Both are taken from the page: its first paragraph of prose, its first figure (else the picture of the first page).
"""

import re
from html import escape, unescape
from pathlib import Path

LONGEST = 200
ARTICLE = re.compile(r"<article.*?</article>", re.DOTALL)
PARAGRAPH = re.compile(r"<(?:p|dd)(?: [^>]*)?>(.*?)</(?:p|dd)>", re.DOTALL)
FIGURE = re.compile(r'<img[^>]* src="((?:\.\./)*_images/[^"]+\.(?:png|webp))"')
DEFAULT = "_static/preview.png"


def add_previews(site: Path, picture: bytes, address: str = "") -> None:
    """Write the tags into all pages below `site`. `address` is where it will lie; without it links are relative."""
    (site / DEFAULT).write_bytes(picture)
    for path in site.rglob("*.html"):
        place = path.relative_to(site)
        if "_static" not in place.parts:
            page = path.read_text(encoding="utf-8")
            tags = tags_of(page, place.as_posix(), address)
            path.write_text(page.replace("</head>", f"{tags}</head>", 1), encoding="utf-8")


def tags_of(page: str, place: str, address: str = "") -> str:
    """Tags for the head of one page, which lies at `place` below the site's root."""
    root = f"{address.rstrip('/')}/" if address else "../" * place.count("/")
    found = FIGURE.search(page)
    picture = re.sub(r"^(\.\./)+", "", found[1]) if found else DEFAULT
    title = re.search(r"<title>(.*?)</title>", page, re.DOTALL)
    name = " ".join(unescape(title[1]).split()) if title else "moereg"
    text = description(page) or name
    tags = [
        f'<meta name="description" content="{escape(text, quote=True)}">',
        f'<meta property="og:title" content="{escape(name, quote=True)}">',
        f'<meta property="og:description" content="{escape(text, quote=True)}">',
        '<meta property="og:type" content="article">',
        f'<meta property="og:image" content="{root}{picture}">',
    ]
    return "\n".join(tags) + "\n"


def description(page: str) -> str:
    """The first paragraph of prose, at most 200 characters, cut at a word."""
    article = ARTICLE.search(page)
    prose = re.sub(r"<li>.*?</li>", "", article[0] if article else page, flags=re.DOTALL)
    for paragraph in PARAGRAPH.findall(prose):
        if "take-away" in paragraph or "download>" in paragraph:
            continue
        bare = re.sub(r"<svg.*?</svg>|<script.*?</script>|<style.*?</style>", "", paragraph, flags=re.DOTALL)
        text = " ".join(unescape(re.sub(r"<[^>]+>", "", bare)).split())
        if len(text) > 60:
            return text if len(text) <= LONGEST else text[:LONGEST].rsplit(" ", 1)[0] + " …"
    return ""
