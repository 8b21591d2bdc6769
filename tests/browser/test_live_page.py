"""The network in the landing page: its recorded run, its numbers against PyTorch, keys, fingers, one's own images."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from moereg.data import datasets
from moereg.models import load_model
from tests.browser.site import address  # noqa: F401, a fixture

pytestmark = pytest.mark.browser

READY = ".mlv[data-ready=true]"
LIVE = ".mlv[data-status=live]"
PATIENCE = 180_000  # milliseconds; the runtime is 14 MB, and a machine may be busy
# Runs a pair given as lists; routes of all layers come back as one list.
RUN = """async ({moving, fixed, size}) => {
  const {network} = document.querySelector("[data-moereg-live]").live;
  const {arrays} = await network.run(moving, fixed, size);
  const routes = Object.keys(arrays).filter((name) => name.endsWith("/routes")).sort();
  return {
    displacement: [...arrays.displacement],
    routes: Object.fromEntries(routes.map((name) => [name, [...arrays[name]]])),
  };
}"""


@pytest.fixture
def landing(address, open_page):  # noqa: F811
    def open_it(**options):
        page = open_page(f"{address}/index.html", ready=READY, **options)
        page.set_default_timeout(PATIENCE)
        return page

    return open_it


def start(page) -> None:
    page.get_by_role("button", name="Run the network here").click()
    page.wait_for_selector(LIVE)


def shown(page) -> int:
    return int(page.get_attribute(".mlv", "data-shown"))


def wait_for_another(page, before: int) -> None:
    page.wait_for_function(f"Number(document.querySelector('.mlv').dataset.shown) > {before}")


def picture(page, number: int) -> str:
    return page.locator(".mlv canvas").nth(number).evaluate("canvas => canvas.toDataURL()")


def test_a_recorded_run_stands_there_before_anything_is_loaded(landing):
    asked = []
    page = landing()
    page.on("request", lambda request: asked.append(request.url))
    assert page.get_attribute(".mlv", "data-status") == "recorded"
    assert page.inner_text(".mlv-said").startswith("Difference to the fixed image 0.")
    assert len({picture(page, number) for number in range(4)}) == 4
    assert not [url for url in asked if "vendor/live" in url and not url.endswith("live.mjs")]


@pytest.mark.parametrize(("size", "count"), [(64, 20), (128, 3)])
def test_it_says_what_pytorch_says(landing, size, count):
    page = landing()
    start(page)
    model = load_model("abdomen-flat")
    equal, total, worst = 0, 0, 0.0
    for pair in datasets.load("abdomen", "test", shape=(size, size), count=count):
        with torch.no_grad():
            expected = model(pair.moving[None], pair.fixed[None])
        given = {"moving": pair.moving.flatten().tolist(), "fixed": pair.fixed.flatten().tolist(), "size": size}
        found = page.evaluate(RUN, given)
        same = True
        for name, routing in expected.routing.items():
            wanted = routing.indices.numpy().ravel()
            agree = np.array(found["routes"][f"{name}/routes"]) == wanted
            equal, total, same = equal + agree.sum(), total + agree.size, same and bool(agree.all())
        if same:  # one other route changes the field around it
            off = np.abs(np.array(found["displacement"]) - expected.displacement.numpy().ravel()).max()
            worst = max(worst, float(off))
    print(f"{count} pairs of {size}: {equal / total:.6f} of routes equal, {worst:.2e} voxels where routes agree")
    assert equal / total >= 0.999
    assert worst < 1e-3


TIME = """async (size) => {
  const {network} = document.querySelector("[data-moereg-live]").live;
  const image = new Float32Array(size * size).map((_, i) => (i % 7) / 7);
  await network.run(image, image, size);
  return network.where;
}"""


def seconds_of_workers() -> float:
    """CPU time of all threads on this machine that are workers of a page; only ours run while the tests do."""
    ticks = 0
    for thread in Path("/proc").glob("[0-9]*/task/[0-9]*"):
        try:
            if (thread / "comm").read_text().startswith("DedicatedWorker"):
                after_name = (thread / "stat").read_text().rpartition(")")[2].split()
                ticks += int(after_name[11]) + int(after_name[12])  # in the kernel and outside of it
        except (FileNotFoundError, ProcessLookupError):
            continue  # a thread that has just ended
    return ticks / os.sysconf("SC_CLK_TCK")


def test_it_computes_beside_the_page_and_takes_a_third_of_a_second_at_most(landing):
    page = landing()
    start(page)
    assert page.evaluate(TIME, 128) == "worker"  # the page goes on following the finger
    if not Path("/proc/self/task").is_dir():
        pytest.skip("CPU time of threads is read from /proc")
    before = seconds_of_workers()
    for _ in range(10):
        page.evaluate(TIME, 128)
    each = (seconds_of_workers() - before) / 10
    print(f"128 x 128 on one thread: {each:.3f} s of CPU")
    assert 0 < each <= 0.3


def test_a_key_moves_a_handle_and_everything_follows(landing):
    page = landing()
    before = [picture(page, number) for number in range(4)]
    page.locator(".mlv-handle").nth(1).press("Shift+ArrowDown")  # this alone loads the network
    page.wait_for_selector(LIVE)
    after = [picture(page, number) for number in range(4)]
    assert [a != b for a, b in zip(before, after, strict=True)] == [True, False, True, True]
    assert "4 down, 0 right" in page.locator(".mlv-handle").nth(1).get_attribute("aria-label")
    count = shown(page)
    page.get_by_role("button", name="Handles back home").click()
    wait_for_another(page, count)
    assert picture(page, 0) == before[0]


def test_a_place_is_asked_by_keys_and_answered_in_words(landing):
    page = landing()
    chart = page.locator(".mlv-ask")
    chart.press("ArrowDown")
    assert "Here, down: " in page.inner_text(".mlv-said")
    assert page.get_attribute(".mlv-said", "aria-live") == "polite"
    page.get_by_role("radio", name="across").check()
    assert "Here, across: " in page.inner_text(".mlv-said")
    page.get_by_role("radio", name="coarse").check()
    assert "Here" not in page.inner_text(".mlv-said")  # another grid, another place


def test_a_finger_drags_on_a_phone(landing):
    page = landing(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    start(page)
    handle = page.locator(".mlv-handle").first
    handle.scroll_into_view_if_needed()
    box, count = handle.bounding_box(), shown(page)
    touch = page.context.new_cdp_session(page)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    for kind, points in (
        ("touchStart", [{"x": x, "y": y}]),
        ("touchMove", [{"x": x + 12, "y": y + 6}]),
        ("touchEnd", []),
    ):
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    wait_for_another(page, count)
    assert " 0 down, 0 right" not in handle.get_attribute("aria-label")


def test_without_webassembly_the_recording_stays_and_can_be_played(address, browser):  # noqa: F811
    context = browser.new_context()
    context.add_init_script("delete globalThis.WebAssembly")
    page = context.new_page()
    page.goto(f"{address}/index.html")
    page.wait_for_selector(READY)
    page.get_by_role("button", name="Run the network here").click()
    page.wait_for_selector(".mlv[data-status=missing]")
    before = picture(page, 0)
    page.get_by_role("slider", name="Play the recording").press("ArrowRight")
    assert picture(page, 0) != before
    assert "cannot run in this browser" in page.inner_text(".mlv-hint")
    context.close()


SLOW_TO_READ = """() => {
  const read = window.createImageBitmap;
  window.createImageBitmap = async (file) => {
    if (file.name === "moving.png") await new Promise((resolve) => setTimeout(resolve, 1000));
    return read(file);
  };
}"""


def test_two_images_of_the_reader_are_registered_and_go_nowhere(landing, tmp_path):
    page = landing()
    start(page)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    rows, columns = np.mgrid[:90, :120]
    files = {}
    for name, centre in (("moving", 50), ("fixed", 60)):
        disc = (255 * ((rows - 45) ** 2 + (columns - centre) ** 2 < 600)).astype(np.uint8)
        files[name] = tmp_path / f"{name}.png"
        Image.fromarray(disc).save(files[name])
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    page.get_by_text("Drop your images").click()
    assert "never leave it" in page.inner_text(".mlv-own")
    page.get_by_label("moving image", exact=False).last.set_input_files(broken)
    page.get_by_text("broken.png could not be read as an image.").wait_for()
    count = shown(page)
    page.evaluate(SLOW_TO_READ)  # the second one is there before the first
    page.locator(".mlv-drop input").nth(0).set_input_files(files["moving"])
    page.locator(".mlv-drop input").nth(1).set_input_files(files["fixed"])
    wait_for_another(page, count)
    assert page.get_by_label("Choose a pair").evaluate("select => select.value") == "own"
    assert not [url for url in asked if not url.startswith("blob:")]
