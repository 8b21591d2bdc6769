"""What holds on every page: no dead control, tables are tables, code is whole, axe is content, nothing jumps."""

import pytest

from tests.browser.test_site import NOTEBOOKS, PAGES, address  # noqa: F401, address is a fixture

pytestmark = pytest.mark.browser

MOST_BYTES = 3_200_000  # of a chapter with all that it loads, unpacked; 2.5 MB is the aim (ROADMAP)
# Controls below an article that neither belong to a view of ours nor have the line that says what a kernel adds.
DEAD = """() => {
  const ours = ".moe, .mst, .mdf, .mlv, .sd-dropdown, .search-page, form";
  const control = "input, select, textarea, [role=slider], .noUi-handle, button.widget-button";
  const cell = (element) => element.closest(".cell_output");
  return [...document.querySelectorAll(`article :is(${control})`)]
    .filter((element) => !element.closest(ours) && !cell(element)?.querySelector(".needs-kernel"))
    .map((element) => element.outerHTML.slice(0, 120));
}"""
PIPES = r"""() => [...document.querySelectorAll("article")].some((article) => {
  const text = article.cloneNode(true);
  for (const code of text.querySelectorAll("pre, code, script")) code.remove();
  return /\|\s*:?-{3,}/.test(text.textContent);
})"""
CUT = """() => [...document.querySelectorAll("article .cell_input pre, article > section > .highlight pre")]
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
  setTimeout(() => resolve(null), 3000);
})"""


def serious(page, axe_source: str) -> list:
    page.evaluate(axe_source)
    # Controls of ipywidgets are not ours; axe need not fetch style sheets, which it looks for beside the wrong page.
    run = "axe.run({exclude: [['.lm-Widget']]}, {resultTypes: ['violations'], preload: false})"
    found = page.evaluate(run)["violations"]
    return [
        (rule["id"], [node["html"][:160] for node in rule["nodes"][:3]])
        for rule in found
        if rule["impact"] in ("serious", "critical")
    ]


def settled(page) -> None:
    """Until every view of the page is drawn."""
    page.wait_for_load_state("networkidle")
    page.wait_for_function(
        "[...document.querySelectorAll('.moereg-view [data-mount]')].every((place) => place.childElementCount)"
    )


@pytest.mark.parametrize("name", PAGES)
def test_a_page_at_1280(name, address, open_page, axe_source):  # noqa: F811
    page = open_page(f"{address}/{name}.html", ready=None, viewport={"width": 1280, "height": 900})
    settled(page)
    shifts, size, latest = page.evaluate(SHIFTS), page.evaluate(BYTES), page.evaluate(LATEST)
    print(f"{name}: {size / 1e6:.2f} MB, layout shift {shifts:.3f}, largest paint after {latest or 0:.0f} ms")
    assert shifts < 0.1
    if not page.locator(".needs-kernel").count():  # Jupyter's scripts alone are four megabytes
        assert size <= MOST_BYTES
    page.evaluate("document.querySelectorAll('article details').forEach((details) => (details.open = true))")
    assert page.evaluate(DEAD) == []
    assert not page.evaluate(PIPES)
    assert page.evaluate(CUT) == []
    assert serious(page, axe_source) == []


@pytest.mark.parametrize("name", ["index", "03_demons", "claims"])
def test_a_page_in_the_dark_on_a_phone_in_forced_colours_without_motion(name, address, open_page, axe_source):  # noqa: F811
    page = open_page(
        f"{address}/{name}.html",
        ready=None,
        viewport={"width": 390, "height": 844},
        color_scheme="dark",
        reduced_motion="reduce",
        has_touch=True,
    )
    settled(page)
    assert serious(page, axe_source) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.emulate_media(forced_colors="active")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    swatches = page.locator(".mlv-legend i").evaluate_all("all => all.map((i) => getComputedStyle(i).backgroundColor)")
    assert len(set(swatches)) == len(swatches)  # experts' colours are meanings: they stay


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_choice_among_pictures_shows_another_one(name, address, open_page):  # noqa: F811
    page = open_page(f"{address}/{name}.html", ready=None)
    settled(page)
    page.evaluate("document.querySelectorAll('article details').forEach((details) => (details.open = true))")
    for view in page.locator(".mst").all():
        seen = []
        for control in view.locator("fieldset, .mst-controls > label").all():
            before = (
                view.get_attribute("data-frame"),
                view.locator("img, pre").first.evaluate("e => e.src ?? e.innerText"),
            )
            if control.locator("input[type=range]").count():
                slider = control.locator("input")
                slider.press("Home" if slider.input_value() != "0" else "End")
            else:
                control.locator("input:not(:checked)").last.check()
            after = (
                view.get_attribute("data-frame"),
                view.locator("img, pre").first.evaluate("e => e.src ?? e.innerText"),
            )
            seen.append([a != b for a, b in zip(before, after, strict=True)])
        assert seen
        assert all(frame for frame, _ in seen)
        assert any(picture for _, picture in seen)


def test_a_dead_control_would_be_found(open_page, tmp_path):
    path = tmp_path / "dead.html"
    path.write_text(
        "<article><div class=cell_output><input type=range></div>"
        "<div class=cell_output><select></select><p class=needs-kernel>A kernel.</p></div>"
        "<div class=mst><input type=range></div><p>| a |<br>|---|</p><pre>|---|</pre></article>"
    )
    page = open_page(path, ready=None)
    assert page.evaluate(DEAD) == ['<input type="range">']
    assert page.evaluate(PIPES)
