"""The explorer on a page of the built book: alive without a kernel, and saying what the notebook's run said."""

import base64
import json

import numpy as np
import pytest

from moereg.viz.packing import unpack
from tests.browser.site import address  # noqa: F401, a fixture

pytestmark = pytest.mark.browser

STATE = ".moereg-view[data-view=explorer] script[type='application/json']"


@pytest.fixture
def tour(address, open_page):  # noqa: F811
    """(page, payload): the chapter with an explorer, and what its notebook saved."""
    page = open_page(f"{address}/00_tour.html")
    states = [json.loads(text) for text in page.locator(STATE).all_text_contents()]
    payload = next(state["payload"] for state in states if state.get("view") == "explorer")
    base64.b64decode(payload["data"], validate=True)
    return page, payload


def gates(page) -> list[float]:
    return [float(c.get_attribute("data-number")) for c in page.locator(".moe-voxel td[data-value=gate]").all()]


def saved_gates(payload: dict, layer: int, track: int, place: tuple[int, ...]) -> np.ndarray:
    entry = payload["layers"][layer]
    at = (track, slice(None), *place)
    expected = np.zeros(len(entry["experts"]))
    expected[unpack(payload, entry["indices"])[at].astype(int)] = unpack(payload, entry["gates"])[at]
    return expected


def press(page, plane: str, row: int, column: int, shape: list[int]) -> None:
    view = page.locator(f"[data-plane={plane}]").first
    view.scroll_into_view_if_needed()
    box = view.bounding_box()
    view.click(position={"x": (column + 0.5) / shape[1] * box["width"], "y": (row + 0.5) / shape[0] * box["height"]})


def test_a_press_shows_the_gates_of_that_voxel(tour):
    page, payload = tour
    rows, columns = payload["shape"]
    row, column = rows // 3, columns // 2
    press(page, "map", row, column, payload["shape"])
    stride = payload["layers"][0]["stride"]
    place = tuple(int(v / s + 0.5) for v, s in zip((row, column), stride, strict=True))
    assert gates(page) == pytest.approx(saved_gates(payload, 0, 0, place), abs=1e-6)
    page.get_by_role("group", name="Direction").get_by_role("radio", name=payload["axes"][1]).check()
    assert gates(page) == pytest.approx(saved_gates(payload, 0, 1, place), abs=1e-6)


def test_knocking_out_works_without_a_kernel(tour):
    page, payload = tour
    before = page.locator("[data-displacement]").get_attribute("data-displacement")
    most = max(range(4), key=lambda i: payload["knockouts"][i]["change"])
    page.locator(f".moe-knockout input[value='knockout:{most}']").check()
    assert page.locator("[data-displacement]").get_attribute("data-displacement") != before
    assert page.locator(".moe-again").is_hidden()  # nobody is there to run the network again


def test_it_turns_dark_with_the_book(tour):
    page, _ = tour
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.locator(".moe[data-theme=dark]").wait_for()
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    page.locator(".moe[data-theme=light]").wait_for()


@pytest.fixture
def landing(address, open_page):  # noqa: F811
    """(page, payload): the landing page, and what it carries."""
    page = open_page(f"{address}/explore.html")
    packed = page.locator("[data-moereg-explorer] script[type='application/json']").first.text_content()
    return page, json.loads(packed)


def test_the_explorer_has_a_page_of_its_own(landing):
    page, payload = landing
    assert page.locator(".moe").first.bounding_box()["y"] < 900  # on the first screen of a laptop
    row, column = (size // 3 for size in payload["shape"])
    press(page, "map", row, column, payload["shape"])
    stride = payload["layers"][0]["stride"]
    place = tuple(int(v / s + 0.5) for v, s in zip((row, column), stride, strict=True))
    assert gates(page) == pytest.approx(saved_gates(payload, 0, 0, place), abs=1e-6)
    # Unmoved organs overlap by two thirds, and an untrained network moves nothing.
    assert payload["metrics"]["dice"] > 0.75
