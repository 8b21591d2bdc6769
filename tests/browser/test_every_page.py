"""What holds on every page. Each is opened once, in one window, and everything is looked at there.

A visit goes through wide and light, then narrow, dark, without motion, then forced colours; pages of the library share
a frame with all others, so that only what stands inside it is looked at, set into one open page.
"""

import re
import urllib.request
from dataclasses import dataclass, field

import nbformat
import pytest

from book import build
from tests.browser.site import NOTEBOOKS, PAGES, address  # noqa: F401, address is a fixture
from tools.notebooks import WIDGET_VIEW, outputs_below, widget_state

pytestmark = pytest.mark.browser

# Controls below an article that belong to none of our views, which the test of choices and their own tests move.
DEAD = """() => {
  const ours = ".moe, .mst, .mdf, .mlv, .sd-dropdown, .search-page, form";
  const control = "input, select, textarea, [role=slider], .noUi-handle, button.widget-button";
  return [...document.querySelectorAll(`article :is(${control})`)]
    .filter((element) => !element.closest(ours))
    .map((element) => element.outerHTML.slice(0, 120));
}"""
PIPES = r"""() => [...document.querySelectorAll("article")].some((article) => {
  const text = article.cloneNode(true);
  for (const code of text.querySelectorAll("pre, code, script")) code.remove();
  return /\|\s*:?-{3,}/.test(text.textContent);
})"""
CUT = """() => [
  ...document.querySelectorAll("article :is(.cell_input, .cell_output, section > .highlight) pre")]
  .filter((pre) => pre.getClientRects().length && pre.scrollWidth > pre.clientWidth + 1)
  .map((pre) => pre.innerText.split("\\n").sort((a, b) => b.length - a.length)[0])"""
SHIFTS = """() => new Promise((resolve) => {
  let sum = 0;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) sum += entry.value;
  }).observe({ type: "layout-shift", buffered: true });
  setTimeout(() => resolve(sum), 0);
})"""
BYTES = """() => performance.getEntriesByType("navigation").concat(performance.getEntriesByType("resource"))
  .reduce((sum, entry) => sum + entry.decodedBodySize, 0)"""
LATEST = """() => new Promise((resolve) => {
  new PerformanceObserver((list) => resolve(list.getEntries().at(-1).startTime))
    .observe({ type: "largest-contentful-paint", buffered: true });
  setTimeout(() => resolve(null), 1000);
})"""
DRAWN = """[...document.querySelectorAll('.moereg-view [data-mount]')].every((place) => place.childElementCount)
  && [...document.querySelectorAll('[data-moereg-live], [data-moereg-explorer]')]
    .every((place) => place.querySelector('[data-ready=true]'))"""
OPENED = "document.querySelectorAll('article details').forEach((details) => (details.open = true))"
ALL_PICTURES = """async () => {
  const pictures = [...document.querySelectorAll("article .cell_output img")]
    .filter((picture) => !picture.closest("noscript, .moereg-view"));
  for (const picture of document.images) picture.loading = "eager";
  await Promise.allSettled([...document.images].map((picture) => picture.decode()));
  return pictures.map((picture) => [picture.naturalWidth, picture.getBoundingClientRect().height]);
}"""
# Boxes of output that show nothing: a stand-in that is not needed, a line that was never printed.
EMPTY = """() => [...document.querySelectorAll("article .cell_output > .output")]
  .filter((box) => box.checkVisibility() && !box.innerText.trim()
    && ![...box.querySelectorAll("img, svg, canvas, input")].some((shown) => shown.checkVisibility()))
  .map((box) => box.outerHTML.slice(0, 120))"""
# Letters thinner than those of the text, in captions above all: they are pale whatever their colour is.
THIN = """() => [...document.querySelectorAll("article *")]
  .filter((element) => getComputedStyle(element).fontWeight < 400 && element.innerText?.trim())
  .map((element) => element.outerHTML.slice(0, 120))"""
# Tables that are wider than their place on a wide window.
CUT_TABLES = """() => [...document.querySelectorAll("article table")]
  .filter((table) => table.checkVisibility() && table.scrollWidth > table.closest("article").clientWidth)
  .map((table) => table.innerText.slice(0, 120))"""
WIDTH = "document.documentElement.scrollWidth"
MOVING = """() => document.getAnimations().filter((animation) => animation.playState === "running"
  && animation.effect.getComputedTiming().duration > 1).length"""
# Colours and places pass into one another for a moment when the window or its theme has changed; spinners go on.
SETTLED = """theme => document.documentElement.dataset.theme === theme && document.getAnimations().every((animation) =>
  animation.playState !== "running" || animation.effect.getComputedTiming().endTime === Infinity)"""
SWATCHES = "all => all.map((i) => getComputedStyle(i).backgroundColor)"


def serious(page, where: str = "document", rules: str = "") -> list:
    """Findings of axe that are serious, in what `where` names; it need not fetch style sheets again."""
    run = f"axe.run({where}, {{resultTypes: ['violations'], preload: false, {rules}}})"
    found = page.evaluate(run)["violations"]
    return [
        (rule["id"], [node["html"][:160] for node in rule["nodes"][:3]])
        for rule in found
        if rule["impact"] in ("serious", "critical")
    ]


@dataclass
class Window:
    """A page of Chromium that is used again and again, and what went wrong in it since the last visit."""

    page: object
    trouble: list = field(default_factory=list)

    def visit(self, place: str, *, width: int = 1280, height: int = 900, **media) -> None:
        """Open an address in a window of this size; settings of media that are not named are the usual ones."""
        self.trouble.clear()
        self.page.set_viewport_size({"width": width, "height": height})
        usual = {"color_scheme": "light", "reduced_motion": "no-preference", "forced_colors": "none"}
        self.page.emulate_media(**(usual | media))
        self.page.goto(place)


def open_window(browser, **options):
    context = browser.new_context(**options)
    window = Window(context.new_page())
    page, trouble = window.page, window.trouble

    def guard(route, request):
        if request.url.startswith(("file:", "data:", "blob:", "http://127.0.0.1")):
            return route.continue_()
        trouble.append(f"request to {request.url}")
        return route.abort()

    page.route(re.compile(r"^(?!data:|http://127\.0\.0\.1)"), guard)
    page.on("pageerror", lambda error: trouble.append(f"error {error}"))
    page.on("console", lambda m: trouble.append(f"console: {m.text}") if m.type == "error" else None)
    page.on("response", lambda r: trouble.append(f"{r.status} for {r.url}") if r.status >= 400 else None)
    page.on("dialog", lambda dialog: (trouble.append(f"dialog {dialog.message}"), dialog.dismiss()))
    return window


@pytest.fixture(scope="module")
def window(browser, axe_source):
    """With axe on every page, and touch, as a phone has."""
    window = open_window(browser, has_touch=True)
    window.page.context.add_init_script(axe_source)
    yield window
    window.page.context.close()


@pytest.fixture(scope="module")
def without_javascript(browser):
    window = open_window(browser, viewport={"width": 1280, "height": 900}, java_script_enabled=False)
    yield window
    window.page.context.close()


# ---- what a notebook holds ----


def outputs_of(name: str) -> list[dict]:
    """Data of every output of an executed notebook."""
    notebook = nbformat.read(build.ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return [output["data"] for output in outputs if "data" in output]


def widgets_of(name: str) -> int:
    return sum(WIDGET_VIEW in data for data in outputs_of(name)) if name in NOTEBOOKS else 0


def pictures_of(name: str) -> int:
    return sum("image/png" in data and WIDGET_VIEW not in data for data in outputs_of(name))


def drawn_by_widgets(name: str) -> int:
    """Pictures that widgets brought along, or drew below their controls when the notebook was executed."""
    notebook = nbformat.read(build.ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    state, count = widget_state(notebook), 0
    for output in (output for cell in notebook.cells for output in cell.get("outputs", ())):
        if WIDGET_VIEW in output.get("data", {}):
            below = [inner.get("data", {}) for inner in outputs_below(output, state)]
            count += 1 if "image/png" in output["data"] else sum("image/png" in data for data in below)
    return count


def test_the_course_has_widgets_and_pictures():
    """Else the tests below would compare nothing with nothing."""
    assert sum(map(widgets_of, NOTEBOOKS)) > 10
    assert sum(map(drawn_by_widgets, NOTEBOOKS)) > 8
    assert all(widgets_of(name) + pictures_of(name) > 0 for name in NOTEBOOKS)


# ---- one visit ----


@pytest.mark.parametrize("name", PAGES)
def test_a_page(name, address, window):  # noqa: F811
    page = window.page
    window.visit(f"{address}/{name}.html")
    page.wait_for_function(DRAWN)
    shift, size, latest = page.evaluate(SHIFTS), page.evaluate(BYTES), page.evaluate(LATEST)
    print(f"{name}: {size / 1e6:.2f} MB at first, layout shift {shift:.3f}, largest paint after {latest or 0:.0f} ms")
    assert shift < 0.1
    assert page.evaluate(WIDTH) <= 1280
    page.evaluate(OPENED)
    assert page.locator(".moereg-view").count() == widgets_of(name)
    assert page.locator('script[type="application/vnd.jupyter.widget-view+json"]').count() == 0
    pictures = page.evaluate(ALL_PICTURES)
    if name in NOTEBOOKS:
        assert len(pictures) == pictures_of(name)
    assert all(width > 50 and height > 20 for width, height in pictures), pictures
    assert page.evaluate(DEAD) == []
    assert not page.evaluate(PIPES)
    for fault in (CUT, CUT_TABLES, EMPTY, THIN):
        assert page.evaluate(fault) == []
    page.wait_for_function(SETTLED, arg="light")
    assert serious(page) == []

    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(reduced_motion="reduce")
    page.wait_for_function(SETTLED, arg="light")  # what moved before it was asked not to
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    assert page.evaluate(MOVING) == 0
    page.wait_for_function(SETTLED, arg="dark")
    assert page.evaluate(WIDTH) <= 390
    assert serious(page) == []

    page.emulate_media(forced_colors="active")
    assert page.evaluate(WIDTH) <= 390
    swatches = page.locator(".mlv-legend i").evaluate_all(SWATCHES)
    assert len(set(swatches)) == len(swatches)  # experts' colours are meanings: they stay
    assert window.trouble == []


PICTURE = "view => (view.querySelector('img, pre').currentSrc || view.querySelector('img, pre').innerText)"


@pytest.mark.parametrize("name", [name for name in NOTEBOOKS if widgets_of(name)])
def test_every_choice_among_pictures_shows_another_one(name, address, window):  # noqa: F811
    page = window.page
    window.visit(f"{address}/{name}.html")
    page.wait_for_function(DRAWN)
    page.evaluate(OPENED)
    for view in page.locator(".mst").all():
        seen = []
        for control in view.locator("fieldset, .mst-controls > label").all():
            before = (view.get_attribute("data-frame"), view.evaluate(PICTURE))
            if control.locator("input[type=range]").count():
                slider = control.locator("input")
                slider.press("Home" if slider.input_value() != "0" else "End")
            else:
                control.locator("input:not(:checked)").last.check()
            view.evaluate("view => view.querySelector('img')?.decode()")
            after = (view.get_attribute("data-frame"), view.evaluate(PICTURE))
            seen.append([a != b for a, b in zip(before, after, strict=True)])
        assert seen
        assert all(frame for frame, _ in seen)
        assert any(picture for _, picture in seen)
    assert window.trouble == []  # every picture that was asked for is there


@pytest.mark.parametrize("name", ["index", "explore", "conventions", *NOTEBOOKS])
def test_without_javascript_a_picture_stands_for_everything_that_moves(name, address, without_javascript):  # noqa: F811
    page = without_javascript.page
    page.goto(f"{address}/{name}.html")
    assert len(page.inner_text("article")) > 200
    for folded in page.locator("details:has(noscript) > summary").all():  # an answer that is to be guessed first
        folded.click()
    shown = {"index": "[data-moereg-live] img", "explore": "[data-moereg-explorer] img"}.get(name, "noscript img")
    heights = [picture.bounding_box()["height"] for picture in page.locator(shown).all()]
    assert len(heights) == (1 if name in ("index", "explore") else drawn_by_widgets(name) if name in NOTEBOOKS else 0)
    assert all(height > 50 for height in heights), heights
    if name in NOTEBOOKS:  # a view without a picture has words
        assert page.locator(":is(noscript, .moe) ol:visible").count() == widgets_of(name) - drawn_by_widgets(name)
    if name == "conventions":
        assert page.locator("mjx-container svg").count() >= 3
    assert without_javascript.trouble == []


FOLDED = """() => [...document.querySelectorAll("article details:not([open]) > :not(summary)")]
  .filter((element) => element.textContent.trim() && !element.closest("noscript"))
  .map((element) => element.checkVisibility())"""


def test_on_paper_everything_folded_is_open(address, window):  # noqa: F811
    window.visit(f"{address}/10_drivenmorph.html")
    folded = window.page.evaluate(FOLDED)
    assert len(folded) > 5
    assert not any(folded)
    window.page.emulate_media(media="print")
    printed = window.page.evaluate(FOLDED)
    window.page.emulate_media(media="screen")
    assert len(printed) == len(folded)
    assert all(printed)


# ---- pages of the library: one frame, many contents ----

SET_IN = """html => {
  const found = new DOMParser().parseFromString(html, "text/html");
  document.querySelector("article").replaceWith(document.adoptNode(found.querySelector("article")));
  return document.querySelector("article").innerText.length;
}"""


def library_pages() -> dict[str, list[str]]:
    """Pages that `PAGES` does not name: of modules, of their sources, and indices."""
    found = sorted(path.relative_to(build.SITE).as_posix() for path in build.SITE.rglob("*.html"))
    rest = [name for name in found if "_static" not in name and name.removesuffix(".html") not in PAGES]
    kinds = {"modules": "api/", "sources": "_modules/", "indices": ""}
    taken: set[str] = set()
    parts = {}
    for kind, start in kinds.items():
        parts[kind] = [name for name in rest if name.startswith(start) and name not in taken]
        taken |= set(parts[kind])
    return parts


@pytest.mark.parametrize("kind", ["modules", "sources", "indices"])
def test_pages_of_the_library(kind, address, window):  # noqa: F811
    names = library_pages()[kind]
    assert names
    page = window.page
    window.visit(f"{address}/api/index.html", width=390, height=844, color_scheme="dark")
    # All sources are coloured alike: of those one is looked at for contrast, which takes long where there is much code.
    plain = "rules: {'color-contrast': {enabled: false}}"
    for place, name in enumerate(names):
        with urllib.request.urlopen(f"{address}/{name}") as response:
            assert page.evaluate(SET_IN, response.read().decode()) > 0, name
        assert page.evaluate(WIDTH) <= 390, name
        assert serious(page, "document.querySelector('article')", plain if kind == "sources" and place else "") == [], (
            name
        )


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("LNCC", "formulas.html#lncc"),
        ("balance loss", "formulas.html#balance-loss"),
        ("Demons force", "formulas.html#demons-force"),
        ("Jacobian determinant", "formulas.html#jacobian-determinant"),
        ("aperture problem", "glossary.html"),
    ],
)
def test_the_search_finds_a_formula_and_a_term_by_name(query, place, address, window):  # noqa: F811
    window.visit(f"{address}/search.html?q={query.replace(' ', '+')}")
    window.page.wait_for_selector(f"#search-results a[href*='{place}']")
    assert window.trouble == []


# ---- keys ----

FOCUS = "view => view.contains(document.activeElement)"


@pytest.mark.parametrize(("name", "view"), [("index", ".mlv"), ("explore", ".moe")])
def test_keys_go_through_a_view_and_leave_it(name, view, address, window):  # noqa: F811
    page = window.page
    window.visit(f"{address}/{name}.html")
    page.wait_for_function(DRAWN)
    root = page.locator(view).first
    root.locator("button:enabled, [tabindex='0'], input, select").first.focus()
    stops = 0
    while root.evaluate(FOCUS):
        page.keyboard.press("Tab")
        stops += 1
        assert stops < 80, "the view holds whoever goes by keys"
    assert stops > 5
    page.keyboard.press("Shift+Tab")
    assert root.evaluate(FOCUS)  # and there is a way back in
    assert root.locator("[aria-live=polite]").count() > 0


# ---- the tests themselves ----


def test_a_dead_control_would_be_found(open_page, tmp_path):
    path = tmp_path / "dead.html"
    path.write_text(
        "<article><div class=cell_output><input type=range></div>"
        "<div class=mst><input type=range></div><p>| a |<br>|---|</p><pre>|---|</pre></article>"
    )
    page = open_page(path, ready=None)
    assert page.evaluate(DEAD) == ['<input type="range">']
    assert page.evaluate(PIPES)


def test_a_missing_file_would_be_noticed(address, browser):  # noqa: F811
    window = open_window(browser)
    window.visit(f"{address}/conventions.html")
    assert window.trouble == []
    window.page.evaluate("fetch('/favicon-that-is-not-there.ico')")
    window.page.wait_for_function("performance.getEntriesByType('resource').some((e) => e.name.endsWith('there.ico'))")
    assert any("404" in line for line in window.trouble)
    window.page.context.close()
