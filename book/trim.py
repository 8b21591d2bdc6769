"""What a page carries, trimmed to what it uses: formulas and icons are drawn by the build, their scripts are left away.

MathJax is 2.3 MB and draws the same formulas for every reader; the theme's icons are 1.5 MB, of which a dozen are used.
Both are put into the pages as SVG once, and are there without JavaScript too.
"""

import json
import re
import tempfile
from collections.abc import Iterable
from html import escape, unescape
from pathlib import Path

from tools import node

BOOK = Path(__file__).resolve().parent
FORMULA = re.compile(
    r'(?P<opens>[(\[]*)<(?P<kind>span|div) class="math notranslate nohighlight"(?P<rest>[^>]*)>'
    r"(?P<before>.{0,400}?)"  # an equation's number
    r"\\(?P<open>[(\[])(?P<tex>.*?)\\[)\]](?P<after>\s*)</(?P=kind)>(?P<closes>[)\].,;:!?]*)",
    re.DOTALL,
)
MATHJAX = re.compile(r"<script[^>]*tex-svg-full\.js[^>]*></script>|<script>window\.MathJax = .*?</script>", re.DOTALL)
GLYPH = re.compile(r'<path id="([^"]+)" d="([^"]*)"></path>')
DEFS = re.compile(r"<defs>(.*?)</defs>", re.DOTALL)
ICON = re.compile(r'<i class="([^"]*\bfa-[^"]*)"([^>]*)></i>')
ICON_SCRIPT = re.compile(r"<script[^>]*scripts/fontawesome\.js[^>]*></script>|<link[^>]*scripts/fontawesome\.js[^>]*>")
UNNAMED = '<summary><span class="toctree-toggle"'  # opens a branch of the sidebar's contents
NAMED = '<summary aria-label="Show or hide the pages below"><span class="toctree-toggle"'
WIDE_FORMULA = '<mjx-container class="MathJax" jax="SVG" display="true"'
TABLE = re.compile(r'<table class="(?:[^"]* )?table(?: [^"]*)?"')
WORD = re.compile(r'<span class="pre">([^<]*-[^<]*)</span>')  # of code, with a hyphen or an arrow
LONGEST_KEPT = 26  # letters: these fit a line on a phone
MODULE = re.compile(r"(?<=<h1>)moereg(?:\.\w+)+")
# Parameters of a long signature, one a line: a list of definitions that defines nothing.
SIGNATURE = re.compile(r'<dl>\n((?:<dd><em class="sig-param">.*?</em>,</dd>\n)+)</dl>')
ITEM = re.compile(r"<dd>(.*?)</dd>")
# Only the page of the search searches; the others would load its index, the largest file of the site, and wait for it.
SEARCHING = re.compile(
    r'\s*<script src="(?:\.\./)*(?:_static/searchtools|_static/language_data|searchindex)\.js[^"]*"></script>'
)
WAITING = re.compile(
    r'<script (?!(?:defer|async|type)\b)(?![^>]*documentation_options\.js)([^>]*\bsrc="[^"]+\.js[^"]*"[^>]*)></script>'
)
# A result whose place holds no text has no summary; Sphinx appends it all the same, which is an error in the page.
SUMMARY = re.compile(r"listItem\.appendChild\(\s*Search\.makeSearchSummary\((.*?)\)\s*\);")
LISTED = "<h1>All modules for which code is available</h1>"
LIST_BESIDE_ITEM = re.compile(r"</li>\n(<ul>.*?</ul>)", re.DOTALL)
STYLES = ("solid", "brands", "regular", "lg", "fw", "xs", "sm", "xl", "2x", "3x")


class TrimError(Exception):
    """One sentence that says what could not be drawn."""


def trim(site: Path, mathjax: Path) -> None:
    """Draw formulas and icons of all pages below `site`, in place. `mathjax` is the folder of its modules."""
    pages = {path: path.read_text(encoding="utf-8") for path in site.rglob("*.html") if "_static" not in path.parts}
    drawn, style = draw({key for text in pages.values() for key in formulas_of(text)}, mathjax)
    (site / "_static" / "formulas.css").write_text(style, encoding="utf-8")
    shapes = icons((site / "_static" / "scripts" / "fontawesome.js").read_text(encoding="utf-8"))
    for path, text in pages.items():
        changed = with_icons(with_formulas(text, drawn, root="../" * (len(path.relative_to(site).parts) - 1)), shapes)
        path.write_text(quick(accessible(changed), searches=path.stem == "search"), encoding="utf-8")
    searching = site / "_static" / "searchtools.js"
    searching.write_text(with_summaries_that_are_there(searching.read_text(encoding="utf-8")), encoding="utf-8")
    for path in (*site.rglob("*.map"), site / "_static" / "scripts" / "fontawesome.js"):
        path.unlink()  # asked for by no page


# ---- formulas ----


def formulas_of(page: str) -> set[tuple[str, bool]]:
    """(TeX, whether it stands alone) of every formula of a page."""
    return {(unescape(found["tex"]).strip(), found["open"] == "[") for found in FORMULA.finditer(page)}


def draw(formulas: Iterable[tuple[str, bool]], mathjax: Path) -> tuple[dict[tuple[str, bool], str], str]:
    """SVG of each formula, and the style sheet that they need.

    Raises:
        TrimError: Node.js could not do it.
    """
    wanted = sorted(formulas)
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder) / "in.json", Path(folder) / "out.json"
        given.write_text(json.dumps([{"tex": tex, "display": display} for tex, display in wanted]), encoding="utf-8")
        done = node.run("node", [str(BOOK / "formulas.cjs"), str(mathjax), str(given), str(out)], folder)
        if done.returncode:
            raise TrimError(f"formulas could not be drawn: {done.stderr.strip()[-300:]}")
        found = json.loads(out.read_text(encoding="utf-8"))
    broken = [tex for (tex, _), svg in zip(wanted, found["drawn"], strict=True) if "data-mjx-error" in svg]
    if broken:
        raise TrimError(f"formulas must be TeX that MathJax knows, got {broken[0]!r}.")
    return dict(zip(wanted, found["drawn"], strict=True)), found["style"]


def with_formulas(page: str, drawn: dict[tuple[str, bool], str], *, root: str) -> str:
    """The page with SVG in place of TeX; a glyph is written once, however many formulas use it."""
    glyphs: dict[str, str] = {}

    def put(found: re.Match) -> str:
        tex = unescape(found["tex"]).strip()
        svg = re.sub(r"MJX-\d+-", "MJX-", drawn[tex, found["open"] == "["])
        glyphs.update(GLYPH.findall(svg))
        svg = DEFS.sub("", svg, count=1)
        label = escape(tex, quote=True)
        svg = re.sub(r' focusable="false"| xmlns(?::xlink)?="[^"]*"', "", svg)
        svg = svg.replace('role="img"', f'role="img" aria-label="{label}"', 1).replace("xlink:href", "href")
        kind, before, after = found["kind"], found["before"], found["after"]
        shape = f'<{kind} class="math notranslate nohighlight"{found["rest"]}>{before}{svg}{after}</{kind}>'
        whole = found["opens"] + shape + found["closes"]
        # A line may break between a shape and a letter: brackets and points stay with their formula.
        return f'<span class="kept">{whole}</span>' if whole != shape and kind == "span" else whole

    page = MATHJAX.sub("", FORMULA.sub(put, page))
    if not glyphs:
        return page
    paths = "".join(f'<path id="{name}" d="{d}"/>' for name, d in glyphs.items())
    hidden = f'<svg width="0" height="0" style="position:absolute" aria-hidden="true"><defs>{paths}</defs></svg>'
    page = page.replace("</head>", f'<link rel="stylesheet" href="{root}_static/formulas.css">\n</head>', 1)
    return re.sub(r"(<body[^>]*>)", lambda body: body[1] + hidden, page, count=1)


# ---- icons ----


def icons(script: str) -> dict[str, tuple[str, str, str]]:
    """Name -> (width, height, path) of every icon in the theme's script, other names of an icon included."""
    found = {}
    entry = r'"?([a-z0-9-]+)"?:\[(\d+),(\d+),\[([^\]]*)\],"[0-9a-f]+","([^"]+)"\]'
    for name, width, height, others, d in re.findall(entry, script):
        for known in (name, *re.findall(r'"([a-z][a-z0-9-]*)"', others)):
            found.setdefault(known, (width, height, d))
    return found


def with_icons(page: str, shapes: dict[str, tuple[str, str, str]]) -> str:
    """The page with its icons as SVG, and without the script that would draw them.

    Raises:
        TrimError: an icon that the theme's script does not have.
    """

    def put(found: re.Match) -> str:
        names = [name.removeprefix("fa-") for name in found[1].split() if name.startswith("fa-")]
        name = next(name for name in names if name not in STYLES)
        if name not in shapes:
            raise TrimError(f"icons must be among those of the theme, got {name!r}.")
        width, height, d = shapes[name]
        return (
            f'<svg class="svg-inline--fa {found[1]}"{found[2]} aria-hidden="true" viewBox="0 0 {width} {height}">'
            f'<path fill="currentColor" d="{d}"/></svg>'
        )

    return ICON_SCRIPT.sub("", ICON.sub(put, page))


# ---- scripts ----


def quick(page: str, *, searches: bool) -> str:
    """The page with scripts that let it be drawn first, in their order; without those that only the search needs."""
    head, end, rest = page.partition("</head>")
    if not searches:
        head = WAITING.sub(r"<script defer \1></script>", SEARCHING.sub("", head))
    return head + end + rest


# ---- for those who hear the page, or go through it by keys ----


def accessible(page: str) -> str:
    """The page with names, roles and stops that Sphinx and MathJax leave out."""
    page = page.replace(UNNAMED, NAMED)  # a toggle that is an icon only has no name
    page = page.replace('<div role="list" class="citation-list">', '<div class="citation-list">')  # holds no list items
    page = page.replace(WIDE_FORMULA, f'{WIDE_FORMULA} tabindex="0"')  # scrolls where it is wider than the page
    page = TABLE.sub(r'\g<0> tabindex="0"', page)  # so does a table
    page = WORD.sub(_kept, page)
    page = MODULE.sub(lambda found: found[0].replace(".", ".<wbr>"), page)  # a long name breaks at its points
    if LISTED in page:  # modules of a package stand beside its item, not in it
        head, rest = page.split(LISTED)
        page = head + LISTED + LIST_BESIDE_ITEM.sub(r"\n\1</li>", rest)
    return SIGNATURE.sub(lambda found: f'<ul class="sig-params">{ITEM.sub(_item, found[1])}</ul>', page)


def with_summaries_that_are_there(script: str) -> str:
    """Sphinx' search, which appends the summaries that there are.

    Raises:
        TrimError: it appends them in another way.
    """
    changed, count = SUMMARY.subn(r'listItem.append(Search.makeSearchSummary(\1) ?? "");', script)
    if count != 1:
        raise TrimError(f"searchtools.js must append a summary at one place, got {count}.")
    return changed


def _kept(found: re.Match) -> str:
    """A word of code that is not torn at its hyphens, where it is not too long for that."""
    return found[0].replace('"pre"', '"pre kept"') if len(unescape(found[1])) <= LONGEST_KEPT else found[0]


def _item(found: re.Match) -> str:
    return f"<li>{found[1]}</li>"
