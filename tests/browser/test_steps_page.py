"""The walk through one decision: steps, play, quoted source, numbers."""

import pytest

from moereg.viz.steps import layer_voxel

pytestmark = pytest.mark.browser


@pytest.fixture
def walk(open_page, case):
    return open_page(case.path).locator(".moe-walk")


def numbers(walk) -> list[float]:
    return [float(row.get_attribute("data-number")) for row in walk.locator(".moe-row").all()]


def test_bars_go_from_logits_to_gates_to_shares(walk, case):
    routing = case.result.routing["decoder.0.shmoe"]
    place = layer_voxel(tuple(case.payload["start"]), 2, (24, 24, 24))
    at = (0, 0, slice(None), *place)
    for title, values in {
        "Logits": routing.logits[at],
        "Softmax": routing.probabilities[at],
        "Gates": routing.gates[at],
        "Sum": routing.contributions[at],
    }.items():
        walk.get_by_role("button", name=title).click()
        assert numbers(walk) == pytest.approx(values.tolist(), abs=1e-4)
    assert "voxels" in walk.locator(".moe-result").text_content()


def test_each_step_quotes_its_line(walk):
    walk.get_by_role("button", name="Top 2").click()
    assert walk.locator("code").text_content() == "scores, indices = logits.topk(k, dim=2)"
    assert "choose, moereg/nn/routing.py, line" in walk.locator(".moe-quote figcaption").text_content()
    assert walk.get_by_role("button", name="Top 2").get_attribute("aria-current") == "step"


def test_back_next_and_slider(walk):
    assert walk.get_by_role("button", name="Back").is_disabled()
    walk.get_by_role("button", name="Next").click()
    walk.get_by_role("button", name="Next").click()
    assert walk.get_attribute("data-step") == "2"
    walk.get_by_label("Step", exact=True).fill("8")
    assert walk.get_by_role("button", name="Next").is_disabled()
    assert walk.get_by_label("Step", exact=True).get_attribute("aria-valuetext") == "9 of 9"


def test_play_walks_to_the_end_and_stops(walk):
    walk.get_by_role("button", name="Play").click()
    assert walk.get_by_role("button", name="Pause").is_visible()
    walk.page.locator(".moe-walk[data-step='8']").wait_for()
    walk.get_by_role("button", name="Play").wait_for()


def test_play_pauses_where_the_lecturer_wants(walk):
    walk.get_by_role("button", name="Play").click()
    walk.page.locator(".moe-walk:not([data-step='0'])").wait_for()
    walk.get_by_role("button", name="Pause").click()
    step = walk.get_attribute("data-step")
    assert step != "8"
    walk.page.wait_for_timeout(1200)
    assert walk.get_attribute("data-step") == step


def test_the_sentence_is_announced(walk):
    sentence = walk.locator(".moe-sentence")
    assert sentence.get_attribute("aria-live") == "polite"
    before = sentence.text_content()
    walk.get_by_role("button", name="Next").click()
    assert sentence.text_content() != before
