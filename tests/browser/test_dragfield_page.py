"""The field to drag on a page without a kernel: pointer, finger, keyboard, and the numbers of the library."""

import json

import pytest

from moereg.data import phantoms
from moereg.fields import exponentiate, jacobian_determinant, warp
from moereg.viz.dragfield import DragField, bumps
from tests.browser.site import address  # noqa: F401, a fixture

pytestmark = pytest.mark.browser

READY = ".mdf[data-ready=true]"
SHAPE = (40, 32)
# What anywidget offers a module, over a saved state; what the view sends is kept for the test.
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Drag</title><style>{css}</style></head>
<body><main><div id="here"></div></main><script type="module">{module}
const state = {state};
const heard = {{}};
window.model = {{
  get: (name) => state[name],
  set: (name, value) => {{ state[name] = value; for (const f of heard["change:" + name] ?? []) f(); }},
  save_changes: () => (window.saved = structuredClone(state)),
  on: (name, f) => (heard[name] ??= []).push(f),
  off: (name, f) => (heard[name] = heard[name].filter((other) => other !== f)),
}};
window.stop = render({{ model: window.model, el: document.querySelector("#here") }});
</script></body></html>"""


@pytest.fixture
def widget():
    moving = phantoms.make("abdomen", SHAPE, 1).moving
    return DragField(moving, centres=[(14, 12), (26, 20)], moves=[(0, 0), (0, 2)], sigma=5)


@pytest.fixture
def drag_page(widget, tmp_path, open_page):
    def open_it(**options):
        names = ("image", "shape", "centres", "moves", "sigma", "reading")
        state = json.dumps({name: getattr(widget, name) for name in names})
        path = tmp_path / "drag.html"
        path.write_text(PAGE.format(css=widget._css, module=widget._esm, state=state))
        return open_page(path, ready=READY, **options)

    return open_it


def numbers(page) -> tuple[float, int, list]:
    """(smallest determinant, folded voxels, moves) as the page says them."""
    data = page.locator(".mdf").evaluate("view => ({...view.dataset})")
    return float(data["least"]), int(data["folded"]), json.loads(data["moves"])


def agrees(page, centres, *, shape=SHAPE, sigma=5.0, reading="displacement") -> None:
    """The page's determinant and count of folds are those of the library for the moves that it says."""
    least, folded, moves = numbers(page)
    field = bumps(tuple(shape), centres, moves, sigma).double()
    determinant = jacobian_determinant(exponentiate(field) if reading == "velocity" else field)
    assert least == pytest.approx(determinant.min().item(), abs=1e-4)
    # Determinants within rounding of zero may be counted either way.
    assert (determinant <= -1e-4).sum() <= folded <= (determinant <= 1e-4).sum()


def drag(page, number: int, down: float, right: float) -> None:
    """Move a handle by voxels with the mouse."""
    box, handle = page.locator(".mdf canvas").first.bounding_box(), page.locator(".mdf-handle").nth(number)
    start = handle.bounding_box()
    x, y = start["x"] + start["width"] / 2, start["y"] + start["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + right * box["width"] / SHAPE[1], y + down * box["height"] / SHAPE[0], steps=4)
    page.mouse.up()


def test_dragging_moves_the_field_and_folds_it(drag_page, widget):
    page = drag_page()
    agrees(page, widget.centres)
    assert numbers(page)[1] == 0
    drag(page, 0, 14, -3)
    _, folded, moves = numbers(page)
    assert moves[0] == pytest.approx([14, -3], abs=0.1)
    assert moves[1] == [0, 2]
    assert folded > 0
    assert f"{folded} of 1280 voxels folded" in page.locator(".mdf output").text_content()
    agrees(page, widget.centres)


def test_as_a_velocity_the_same_drag_does_not_fold(drag_page, widget):
    page = drag_page()
    drag(page, 0, 14, -3)
    page.get_by_role("radio", name="velocity").check()
    least, folded, _ = numbers(page)
    assert least > 0
    assert folded == 0
    agrees(page, widget.centres, reading="velocity")
    assert "No voxel folded" in page.locator(".mdf output").text_content()


def test_arrow_keys_move_a_handle(drag_page, widget):
    page = drag_page()
    page.get_by_role("button", name="Handle 1").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowLeft", "Shift+ArrowUp"):
        page.keyboard.press(key)
    assert numbers(page)[2] == [[1.75, -1], [0, 2]]
    assert page.get_by_role("button", name="Handle 1: 1.8 down, −1.0 right").is_visible()
    agrees(page, widget.centres)
    page.keyboard.press("Home")
    assert numbers(page)[2] == [[0, 0], [0, 2]]
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    assert numbers(page)[2] == [[0, 0], [0, 3]]


def test_handles_stay_over_the_image_and_start_again_undoes(drag_page):
    page = drag_page()
    drag(page, 1, 0, 100)
    assert numbers(page)[2][1][1] == pytest.approx(SHAPE[1] - 1 - 20)
    page.get_by_role("button", name="Start again").click()
    assert numbers(page)[2] == [[0, 0], [0, 2]]


def test_the_width_is_a_slider(drag_page, widget):
    page = drag_page()
    drag(page, 0, 10, 0)
    page.get_by_label("Width of the bumps").fill("8.5")
    agrees(page, widget.centres, sigma=8.5)


def test_a_finger_drags(drag_page, widget):
    page = drag_page(has_touch=True, viewport={"width": 390, "height": 900})
    session = page.context.new_cdp_session(page)
    box = page.locator(".mdf-handle").first.bounding_box()
    points = [(box["x"] + 13, box["y"] + 13 + step) for step in (0, 20, 40)]
    for kind, place in zip(("touchStart", "touchMove", "touchMove"), points, strict=True):
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": place[0], "y": place[1]}]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert numbers(page)[2][0][0] > 2
    assert page.evaluate("scrollY") == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    agrees(page, widget.centres)


def test_the_warped_image_is_the_librarys(drag_page, widget):
    page = drag_page()
    drag(page, 0, 3, 2)
    field = bumps(SHAPE, widget.centres, numbers(page)[2], 5.0)
    expected = (255 * warp(widget._moving[None], field)[0, 0]).tolist()
    scale = page.evaluate("document.querySelectorAll('.mdf canvas')[1].width") // SHAPE[1]
    for row, column in ((16, 13), (14, 12), (25, 21), (10, 8)):
        pixel = page.evaluate(
            "([x, y]) => document.querySelectorAll('.mdf canvas')[1].getContext('2d').getImageData(x, y, 1, 1).data[0]",
            [column * scale + 2, row * scale + 2],
        )
        assert pixel == pytest.approx(expected[row][column], abs=2)


def test_python_and_the_view_share_the_moves(drag_page):
    page = drag_page()
    page.evaluate("model.set('moves', [[1, 1], [2, 2]])")
    assert numbers(page)[2] == [[1, 1], [2, 2]]
    drag(page, 0, 2, 0)
    page.wait_for_function("window.saved && window.saved.moves[0][0] > 2.5")
    page.evaluate("stop()")
    assert page.locator(".mdf").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_has_no_serious_findings(drag_page, axe_source, scheme, width):
    page = drag_page(color_scheme=scheme, viewport={"width": width, "height": 900})
    assert page.locator(".mdf").get_attribute("data-theme") == scheme
    page.evaluate(axe_source)
    found = page.evaluate("axe.run('.mdf', {resultTypes: ['violations']})")["violations"]
    assert [(rule["id"], rule["nodes"][0]["html"]) for rule in found if rule["impact"] in ("serious", "critical")] == []


def test_in_the_book_it_lives_without_a_kernel(address, open_page):  # noqa: F811
    page = open_page(f"{address}/01_fields.html", ready=READY)
    state = json.loads(page.locator("[data-view=dragfield] script[type='application/json']").first.text_content())
    least = numbers(page)[0]
    page.get_by_role("button", name="Handle 1").focus()
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    assert numbers(page)[0] != least
    agrees(page, state["centres"], shape=state["shape"], sigma=state["sigma"], reading=state["reading"])
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.locator(".mdf[data-theme=dark]").wait_for()
