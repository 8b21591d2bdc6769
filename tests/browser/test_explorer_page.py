"""report.html from file://: every number on the page is compared with the tensors it came from."""

import json

import numpy as np
import pytest
import torch

from moereg.fields import warp
from moereg.models.registration import Registration
from moereg.nn.observe import find_routers, rerouted
from moereg.viz.palette import EXPERTS, expert_colours
from moereg.viz.payload import pack_result
from moereg.viz.report import write_report

pytestmark = pytest.mark.browser

VOXEL = (20, 30, 14)
LAYER_0 = "decoder.0.shmoe"


def state(page) -> dict:
    return page.evaluate("document.querySelector('[data-moereg-explorer]').explorer.store.state")


def point(page, plane: str, row: int, column: int, shape: tuple[int, int], *, press: bool = False) -> None:
    """Move the mouse to the middle of a voxel of a slice, and press there if asked."""
    view = page.locator(f"[data-plane={plane}]").first
    view.scroll_into_view_if_needed()
    box = view.bounding_box()
    x = box["x"] + (column + 0.5) / shape[1] * box["width"]
    y = box["y"] + (row + 0.5) / shape[0] * box["height"]
    page.mouse.move(x, y)
    if press:
        page.mouse.down()
        page.mouse.up()


def axial(page) -> None:
    """Cut across z through VOXEL, whatever the page opened with."""
    page.evaluate(
        "v => document.querySelector('[data-moereg-explorer]').explorer.store.set({plane: 0, voxel: v, hover: null})",
        list(VOXEL),
    )


def column_of(page, name: str) -> list[float]:
    cells = page.locator(f".moe-voxel td[data-value={name}]")
    return [float(cell.get_attribute("data-number")) for cell in cells.all()]


def pixel(page, plane: str, row: int, column: int) -> list[int]:
    return page.evaluate(
        """([plane, r, c]) => {
            const canvas = document.querySelector(`[data-plane=${plane}] canvas`);
            return [...canvas.getContext('2d').getImageData(c, r, 1, 1).data].slice(0, 3);
        }""",
        [plane, row, column],
    )


def rgb(colour: str) -> list[int]:
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def grid_voxel(voxel, stride, grid) -> tuple[int, ...]:
    return tuple(min(int(v / stride + 0.5), n - 1) for v, n in zip(voxel, grid, strict=True))


def choose_layer(page, name: str) -> None:
    page.get_by_label("Routed layer").select_option(label=name)


# ---- reading a voxel ----


@pytest.mark.parametrize("voxel", [VOXEL, (20, 0, 0), (20, 47, 47), (20, 13, 31)])
def test_hovering_shows_the_gates_of_that_voxel(open_page, case, voxel):
    page = open_page(case.path)
    axial(page)
    point(page, "map", voxel[1], voxel[2], (48, 48))
    assert page.locator(".moe-voxel").get_attribute("data-voxel") == ",".join(map(str, voxel))
    routing = case.result.routing[LAYER_0]
    at = (0, 0, slice(None), *grid_voxel(voxel, 2, (24, 24, 24)))
    assert column_of(page, "logit") == pytest.approx(routing.logits[at].tolist(), abs=0.02)
    assert column_of(page, "softmax") == pytest.approx(routing.probabilities[at].tolist(), abs=0.02)
    assert column_of(page, "gate") == pytest.approx(routing.gates[at].tolist(), abs=0.005)
    ranks = {int(e): rank for rank, e in enumerate(routing.indices[at])}
    assert column_of(page, "rank") == [ranks.get(e, -1) for e in range(4)]
    # The pinned voxel stays where it was.
    assert state(page)["voxel"] == list(VOXEL)


def test_shares_of_the_experts_add_up_to_the_step_of_the_level(open_page, case):
    page = open_page(case.path)
    axial(page)
    point(page, "image", *VOXEL[1:], (48, 48))
    contributions = case.result.routing[LAYER_0].contributions[0]
    place = grid_voxel(VOXEL, 2, (24, 24, 24))
    for direction, name in enumerate("zyx"):
        page.locator(".moe-sums").get_by_role("button", name=f"Direction {name}").click()
        expected = contributions[(direction, slice(None), *place)]
        assert column_of(page, "share") == pytest.approx(expected.tolist(), abs=0.03)
        total = float(page.locator(f".moe-sums [data-direction={name}]").get_attribute("data-total"))
        assert total == pytest.approx(sum(column_of(page, "share")), abs=1e-5)
        assert total == pytest.approx(float(expected.sum()), abs=0.05)
    assert state(page)["track"] == 2


def test_arrows_of_the_experts_lead_to_the_arrow_of_the_level(open_page, case):
    page = open_page(case.path)
    axial(page)
    ends = page.evaluate(
        """() => ['.moe-chain-sum', '.moe-chain'].map((selector) => {
            const path = [...document.querySelectorAll(selector)].at(-1).getAttribute('d');
            return path.split('L')[1].split('M')[0].split(' ').map(Number);
        })"""
    )
    assert ends[0] == pytest.approx(ends[1], abs=0.03)


def test_the_displacement_is_the_networks(open_page, case):
    page = open_page(case.path)
    axial(page)
    shown = [float(v) for v in page.locator("[data-displacement]").get_attribute("data-displacement").split(",")]
    expected = case.result.displacement[(0, slice(None), *VOXEL)]
    assert shown == pytest.approx(expected.tolist(), abs=0.006)


def test_a_press_pins_the_voxel_and_moves_the_other_planes(open_page, case):
    page = open_page(case.path)
    axial(page)
    point(page, "image", 10, 40, (48, 48), press=True)
    assert state(page)["voxel"] == [20, 10, 40]
    captions = page.locator(".moe-images .moe-caption").all_text_contents()
    assert captions == ["coronal · y 10", "sagittal · x 40"]
    point(page, "image-0", 33, 7, (48, 48), press=True)  # coronal: rows z, columns x
    assert state(page)["voxel"] == [33, 10, 7]
    assert page.get_by_label("z slice").input_value() == "33"


def test_the_live_text_says_what_is_under_the_pointer(open_page, case):
    page = open_page(case.path)
    axial(page)
    routing = case.result.routing[LAYER_0]
    place = grid_voxel(VOXEL, 2, (24, 24, 24))
    first = int(routing.indices[(0, 0, 0, *place)])
    gate = float(routing.gates[(0, 0, first, *place)])
    live = page.locator(".moe-voxel [role=status]")
    live.get_by_text(f"Voxel z {VOXEL[0]}, y {VOXEL[1]}, x {VOXEL[2]}").wait_for()
    assert f"{routing.experts[first]} gate {gate:.2f}" in live.text_content()
    assert live.get_attribute("aria-live") == "polite"


# ---- maps ----


def test_maps_of_the_first_expert_have_its_colour_in_every_direction(open_page, case):
    page = open_page(case.path)
    axial(page)
    first = case.result.routing[LAYER_0].first()[0]
    colours = expert_colours(("1³", "3³", "5³", "7³"))
    for track, name in enumerate("zyx"):
        page.get_by_role("group", name="Direction").get_by_role("radio", name=name).check()
        for row, column in [(4, 5), (24, 30), (46, 40)]:
            place = grid_voxel((VOXEL[0], row, column), 2, (24, 24, 24))
            assert pixel(page, "map", row, column) == rgb(colours[int(first[(track, *place)])])
    # The small maps show the two other directions.
    assert page.locator(".moe-routing .moe-caption").all_text_contents() == ["direction z", "direction y"]


def test_gate_and_entropy_maps(open_page, case):
    page = open_page(case.path)
    axial(page)
    page.get_by_role("group", name="Expert").get_by_role("radio", name="3³").check()
    assert state(page)["show"] == "gate"
    assert page.get_by_role("radio", name="Gate of 3³").is_checked()
    gate = case.result.routing[LAYER_0].gates[0, 0, 1]
    ground, full = np.array([244, 241, 234]), np.array(rgb(EXPERTS[1]))
    for row, column in [(10, 10), (24, 30), (40, 18)]:
        share = float(gate[grid_voxel((VOXEL[0], row, column), 2, (24, 24, 24))])
        assert pixel(page, "map", row, column) == pytest.approx((ground + (full - ground) * share).tolist(), abs=3)
    page.get_by_role("radio", name="Entropy").check()
    entropy = case.result.routing[LAYER_0].entropy()[0, 0]
    bright = [sum(pixel(page, "map", 2 * r, 2 * c)) for r in range(24) for c in range(24)]
    true = [float(entropy[10, r, c]) for r in range(24) for c in range(24)]
    order = np.corrcoef(np.argsort(np.argsort(bright)), np.argsort(np.argsort(true)))[0, 1]
    assert order > 0.99


@pytest.mark.parametrize("kind", ["fixed", "moving", "warped"])
def test_images_are_the_tensors(open_page, case, kind):
    page = open_page(case.path)
    axial(page)
    page.get_by_role("radio", name=kind.title()).check()
    window = case.payload["images"]["window"]
    images = {
        "fixed": case.pair.fixed,
        "moving": case.pair.moving,
        "warped": warp(case.pair.moving[None], case.result.displacement)[0],
    }
    plane = ((images[kind][0, VOXEL[0]] - window["low"]) / (window["high"] - window["low"])).clamp(0, 1) * 255
    for row, column in [(8, 20), (24, 24), (30, 14), (40, 30)]:
        assert pixel(page, "image", row, column)[0] == pytest.approx(float(plane[row, column]), abs=4)


def test_checkerboard_and_difference(open_page, case):
    page = open_page(case.path)
    axial(page)
    page.get_by_role("radio", name="Checker").check()
    board = [pixel(page, "image", 24, c) for c in range(48)]
    assert {tuple(np.diff(p).tolist()) == (0, 0) for p in board} == {True, False}  # grey and tinted squares
    page.get_by_role("radio", name="Difference").check()
    page.get_by_label("Field that is applied").select_option(label="before (no displacement)")
    difference = (case.pair.moving - case.pair.fixed)[0, VOXEL[0]]
    row, column = np.unravel_index(int(difference.argmax()), (48, 48))
    red, _, blue = pixel(page, "image", int(row), int(column))
    assert red > blue
    row, column = np.unravel_index(int(difference.argmin()), (48, 48))
    red, _, blue = pixel(page, "image", int(row), int(column))
    assert blue > red


def test_grid_arrows_and_outlines(open_page, case):
    page = open_page(case.path)
    axial(page)
    page.get_by_role("button", name="Outlines").click()
    assert page.locator("[data-plane=image] .moe-outline").count() == 0
    page.get_by_role("button", name="Outlines").click()
    labels = case.pair.fixed_labels[0, VOXEL[0]]
    borders = int((labels.diff(dim=0) != 0).sum() + (labels.diff(dim=1) != 0).sum())
    path = page.locator("[data-plane=image] [data-labels=fixed]").get_attribute("d")
    assert path.count("M") == borders
    page.get_by_role("button", name="Grid").click()
    first = page.locator("[data-plane=image] .moe-grid").get_attribute("d").split("L")[0][1:].split()
    u = case.result.displacement[0, :, VOXEL[0], 0, 0]
    assert [float(v) for v in first] == pytest.approx([float(u[2]), float(u[1])], abs=0.02)
    page.get_by_role("button", name="Arrows").click()
    start, end = page.locator("[data-plane=image] .moe-arrows").get_attribute("d").split("M")[1].split("L")
    x, y = (int(float(v)) for v in start.split())
    moved = case.result.displacement[0, :, VOXEL[0], y, x]
    assert [float(v) for v in end.split()] == pytest.approx([x + float(moved[2]), y + float(moved[1])], abs=0.02)


# ---- layers, kernels, attention ----


@pytest.mark.parametrize(("layer", "stride"), [(LAYER_0, 2), ("decoder.1.shmoe", 4), ("decoder.2.shmoe", 8)])
def test_kernels_are_drawn_at_their_true_size(open_page, case, layer, stride):
    page = open_page(case.path)
    axial(page)
    choose_layer(page, layer)
    boxes = page.locator("[data-plane=image] rect[data-extent]").all()
    drawn = {int(b.get_attribute("data-extent")): float(b.get_attribute("width")) for b in boxes}
    grid = case.result.routing[layer].gates.shape[3:]
    place = grid_voxel(VOXEL, stride, grid)
    chosen = case.result.routing[layer].indices[(0, 0, slice(None), *place)].tolist()
    assert drawn == {(1, 3, 5, 7)[e]: (1, 3, 5, 7)[e] * stride for e in chosen}
    centre = float(boxes[0].get_attribute("x")) + float(boxes[0].get_attribute("width")) / 2
    assert centre == place[2] * stride


def test_attention_of_the_chosen_heads(open_page, case):
    page = open_page(case.path)
    axial(page)
    choose_layer(page, "encoder.1.moa")
    moa, seen = case.model.attention["1"].moa, {}
    hook = moa.register_forward_hook(lambda _, inputs, __: seen.update(features=inputs[0]))
    case.run()
    hook.remove()
    place = grid_voxel(VOXEL, 4, (12, 12, 12))
    expected = moa.attention_from(seen["features"][1:], place)  # the fixed image is second in the batch
    routing = case.result.routing["encoder.1.moa"]
    lenses = page.locator(".moe-attention")
    heads = [routing.experts[int(e)] for e in routing.indices[(1, 0, slice(None), *place)]]
    assert [lens.get_attribute("data-head") for lens in lenses.all()] == heads
    for lens, head in zip(lenses.all(), heads, strict=True):
        assert lens.get_attribute("data-source") == "fixed"
        weights = expected[routing.experts.index(head)]
        discs = lens.locator("circle").all()
        assert len(discs) == 36  # a 6³ window, one slice of it
        for disc in discs[::7]:
            token = tuple(int(v) for v in disc.get_attribute("data-token").split(","))
            assert float(disc.get_attribute("data-weight")) == pytest.approx(float(weights[token]), rel=0.1, abs=1e-4)
    window = page.locator("[data-plane=image] [data-window]")
    assert float(window.get_attribute("width")) == 24  # six tokens of stride four
    assert page.get_by_role("button", name="Window").is_visible()


def test_the_cross_form_looks_at_the_other_image(open_page, flat_case):
    page = open_page(flat_case.path)
    choose_layer(page, "encoder.1.moa")
    assert page.locator(".moe-attention").first.get_attribute("data-source") == "moving"
    page.get_by_role("group", name="Token of").get_by_role("radio", name="moving").check()
    assert page.locator(".moe-attention").first.get_attribute("data-source") == "fixed"


def test_load_is_shown_and_leads_to_the_layer(open_page, case):
    page = open_page(case.path)
    button = page.locator("[data-load='decoder.2.shmoe/y']")
    load = case.result.routing["decoder.2.shmoe"].load()[1]
    words = button.get_attribute("aria-label")
    for name, share in zip(("1³", "3³", "5³", "7³"), load.tolist(), strict=True):
        assert f"{name} {round(share * 100)} percent" in words
    widths = [
        float(piece.get_attribute("style").split("width:")[1].split("%")[0]) for piece in button.locator("i").all()
    ]
    assert widths == pytest.approx((100 * load).tolist(), abs=0.02)
    button.click()
    assert (state(page)["layer"], state(page)["track"]) == (2, 1)
    assert page.get_by_label("Routed layer").input_value() == "2"


# ---- other results ----


def test_knocking_out_an_expert_shows_the_result_without_it(open_page, case):
    page = open_page(case.path)
    axial(page)
    page.locator(".moe-knockout").get_by_label("7³").check()
    assert state(page)["field"] == "knockout:3"
    assert page.locator(".moe-badge").text_content() == f"Shown: without 7³ in {LAYER_0}"
    routers = find_routers(case.model)
    with rerouted(routers, without={LAYER_0: (3,)}):
        without = case.run().displacement
    # Stored at every third voxel: exact there, interpolated between. Look where it matters most.
    moved = (without - case.result.displacement)[0].norm(dim=0)[::3, ::3, ::3]
    assert moved.max() > 0.2
    voxel = [3 * int(i) for i in np.unravel_index(int(moved.argmax()), tuple(moved.shape))]
    page.evaluate("v => document.querySelector('[data-moereg-explorer]').explorer.store.set({voxel: v})", voxel)
    shown = [float(v) for v in page.locator("[data-displacement]").get_attribute("data-displacement").split(",")]
    assert shown == pytest.approx(without[(0, slice(None), *voxel)].tolist(), abs=0.03)
    change = float(page.locator(".moe-knockout tr[data-field='knockout:3'] td").first.get_attribute("data-number"))
    assert change == pytest.approx(float((without - case.result.displacement).norm(dim=1).mean()), rel=1e-3)
    page.locator(".moe-knockout").get_by_label("none").check()
    assert page.locator(".moe-badge").text_content() == ""


def test_scrubbing_through_the_training(open_page, case):
    page = open_page(case.path)
    axial(page)
    scrub = page.get_by_role("slider", name="Training step")
    scrub.fill("0")
    assert state(page)["field"] == "snapshot:0"
    step, kept = case.snapshots[0]
    assert scrub.get_attribute("aria-valuetext") == f"step {step}"
    first = kept.routing[LAYER_0].first()[0, 0]
    for row, column in [(10, 10), (24, 30), (40, 18)]:
        # Stored at every second voxel of the level.
        place = [int(v / 4 + 0.5) * 2 for v in (VOXEL[0], row, column)]
        assert pixel(page, "map", row, column) == rgb(EXPERTS[int(first[tuple(place)])])
    words = page.locator(f"[data-load='{LAYER_0}/z']").get_attribute("aria-label")
    assert f"1³ {round(float(kept.routing[LAYER_0].load()[0, 0]) * 100)} percent" in words
    page.get_by_role("button", name="Play").first.click()
    page.get_by_text("Shown: training step 3").wait_for()
    page.locator(".moe-training").get_by_role("button", name="Play").wait_for()  # it stopped by itself
    page.get_by_role("button", name="Result", exact=True).click()
    assert state(page)["field"] == "result"


def test_intermediate_fields(open_page, case):
    page = open_page(case.path)
    page.get_by_label("Field that is applied").select_option(label="field after step 1")
    voxel = [24, 24, 24]
    page.evaluate("v => document.querySelector('[data-moereg-explorer]').explorer.store.set({voxel: v})", voxel)
    shown = [float(v) for v in page.locator("[data-displacement]").get_attribute("data-displacement").split(",")]
    assert shown == pytest.approx(case.result.steps[0][(0, slice(None), *voxel)].tolist(), abs=0.03)


# ---- keyboard, theme, size, no JavaScript ----


def test_everything_is_reached_and_used_by_keyboard(open_page, case):
    page = open_page(case.path)
    axial(page)
    reached, held = set(), page.locator("[data-moereg-explorer]").first
    for _ in range(80):
        page.keyboard.press("Tab")
        name, visible = page.evaluate(
            """() => {
                const e = document.activeElement;
                const s = getComputedStyle(e.matches('.moe-choice input') ? e.nextElementSibling : e);
                const name = e.dataset.plane ?? e.dataset.load ?? e.dataset.direction ?? (e.labels?.[0]?.textContent
                    || e.getAttribute('aria-label') || e.textContent);
                return [name, s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2];
            }"""
        )
        if held.evaluate("root => root.contains(document.activeElement)"):
            reached.add(name)
            assert visible, f"no visible focus on {name}"
    expected = {"Warped", "image", "map", "Grid", "Outlines", "Routed layer", "z", "y", "x", "1³", "z slice", "Play"}
    assert expected <= reached
    page.locator("[data-plane=map]").focus()
    for key in ("ArrowRight", "ArrowDown", "PageUp", "Shift+ArrowLeft"):
        page.keyboard.press(key)
    assert state(page)["voxel"] == [VOXEL[0] + 1, VOXEL[1] + 1, VOXEL[2] + 1 - 5]
    page.get_by_role("radio", name="Warped").focus()
    page.keyboard.press("ArrowRight")
    assert state(page)["image"] == "checkerboard"
    page.locator(".moe-sums [data-direction=y]").focus()
    page.keyboard.press("Enter")
    assert state(page)["track"] == 1
    assert page.evaluate("document.activeElement.dataset.direction") == "y"  # focus is not lost by the redrawing


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_follows_the_systems_theme_and_a_pages(open_page, case, scheme):
    page = open_page(case.path, color_scheme=scheme)
    assert page.locator(".moe").first.get_attribute("data-theme") == scheme
    ground = page.locator(".moe-card").first.evaluate("e => getComputedStyle(e).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 24, 29)"}[scheme]
    other = {"light": "dark", "dark": "light"}[scheme]
    page.evaluate("theme => (document.documentElement.dataset.theme = theme)", other)
    page.locator(f".moe[data-theme={other}]").first.wait_for()


def test_a_narrow_screen_and_a_finger(open_page, case):
    page = open_page(case.path, viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    axial(page)
    view = page.locator("[data-plane=map]")
    view.scroll_into_view_if_needed()
    box = view.bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] * 7.5 / 48, box["y"] + box["height"] * 39.5 / 48)
    assert state(page)["voxel"] == [VOXEL[0], 39, 7]
    # The decision is on the screen although its panel is far below the finger.
    pocket = page.locator(".moe-pocket")
    routing = case.result.routing[LAYER_0]
    first = int(routing.indices[(0, 0, 0, *grid_voxel((VOXEL[0], 39, 7), 2, (24, 24, 24)))])
    assert pocket.locator("i").first.get_attribute("title").startswith(routing.experts[first])
    bottom = pocket.bounding_box()
    assert bottom["y"] + bottom["height"] <= 800
    small = page.evaluate(
        """() => [...document.querySelectorAll('.moe button, .moe select, .moe .moe-choice label')]
            .filter((e) => e.getBoundingClientRect().height && e.getBoundingClientRect().height < 24).length"""
    )
    assert small == 0  # nothing is too small for a finger (WCAG 2.2, 2.5.8)


def test_without_javascript_a_picture_stands_in(open_page, case):
    page = open_page(case.path, ready=None, java_script_enabled=False)
    picture = page.locator(".moe-static img")
    assert picture.is_visible()
    assert picture.bounding_box()["height"] > 100
    assert "maps of the first expert in decoder.0.shmoe" in picture.get_attribute("alt")
    assert page.get_by_role("table").count() == 1
    assert page.locator(".moe-static ol li").count() == 9  # the walk, as a list of sentences


def test_names_that_carry_markup_do_nothing(open_page, flat_case):
    page = open_page(flat_case.path)
    assert page.locator(".moe h2").first.text_content().startswith("<img src=x onerror=")
    labels = flat_case.pair.fixed_labels[0]
    place = (labels > 0).nonzero()[5].tolist()
    point(page, "image", *place, flat_case.pair.shape)
    assert "<img src=x" in page.locator(".moe-voxel .moe-where").text_content()
    assert page.locator("img").count() == 0


def test_two_dimensions(open_page, flat_case):
    page = open_page(flat_case.path)
    voxel = (12, 20)
    point(page, "map", *voxel, flat_case.pair.shape, press=True)
    routing = flat_case.result.routing[LAYER_0]
    place = grid_voxel(voxel, 2, routing.gates.shape[3:])
    assert column_of(page, "gate") == pytest.approx(routing.gates[(0, 0, slice(None), *place)].tolist(), abs=0.005)
    assert page.get_by_label("z slice").count() == 0


def test_a_model_without_routing(open_page, case, tmp_path):
    plain = Registration(case.result.displacement, case.result.warped, case.result.steps)
    payload = pack_result(case.pair, plain, title="Without experts")
    page = open_page(write_report(tmp_path / "plain.html", title="Without experts", payload=payload))
    page.get_by_role("radio", name="Difference").check()
    shown = [float(v) for v in page.locator("[data-displacement]").get_attribute("data-displacement").split(",")]
    expected = case.result.displacement[(0, slice(None), *payload["start"])]
    assert shown == pytest.approx(expected.tolist(), abs=0.006)
    page.locator(".moe-voxel [role=status]", has_text="displacement").wait_for()
    assert page.locator(".moe-card").count() == 2


# ---- size ----


def test_the_page_is_small(case):
    assert case.path.stat().st_size < 2_000_000
    assert len(json.dumps(case.payload)) < 2_000_000


def test_the_page_says_how_fast_it_was(open_page, case, record_property):
    page = open_page(case.path)
    milliseconds = page.evaluate("performance.getEntriesByName('moereg-ready')[0].startTime")
    record_property("first_picture_ms", milliseconds)
    assert milliseconds > 0


def test_tensors_are_really_compared(case):
    """The comparisons above would be empty if routing were uniform or nothing moved."""
    routing = case.result.routing[LAYER_0]
    assert routing.load().min() > 0.01
    assert routing.gates.std() > 0.1
    assert case.result.displacement.abs().max() > 1
    assert torch.isfinite(case.result.displacement).all()
