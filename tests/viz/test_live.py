"""The live view's page: recorded runs that are the network's own, images that bend as the page bends them."""

import json

import pytest
import torch

from moereg.data import phantoms
from moereg.viz.live import CENTRES, RECORDED, bent, live_fragment, live_payload, live_picture
from moereg.viz.packing import unpack
from tests.viz.conftest import small_model


@pytest.fixture(scope="module")
def pair():
    return phantoms.make("abdomen", (32, 32), 3)


def test_the_tissue_under_a_handle_comes_along():
    columns = torch.arange(50.0).expand(1, 50, 50) / 50
    out = bent(columns, [(0.5, 0.4)], [(0.0, 0.1)])
    assert out[0, 25, 25].item() == pytest.approx(20 / 50)  # what lay at column 0.4 * 50 lies at 0.5 * 50
    assert bent(columns, [(0.5, 0.4)], [(0.0, 0.0)]).numpy() == pytest.approx(columns.numpy(), abs=1e-6)


def test_what_is_recorded_is_what_the_network_says(pair):
    model = small_model(2)
    payload = live_payload(model, [pair], sizes=[32], megabytes=15)
    assert [frame["moves"][0] for frame in payload["recorded"]] == list(RECORDED)
    moves = payload["recorded"][2]["moves"]
    with torch.no_grad():
        expected = model(bent(pair.moving, CENTRES, moves)[None], pair.fixed[None])
    arrays = payload["recorded"][2]["arrays"]
    assert unpack(payload, arrays["displacement"]) == pytest.approx(expected.displacement[0].numpy(), abs=0.026)
    layer = payload["layers"][0]
    gates = expected.routing[layer].gates[0].numpy()
    assert unpack(payload, arrays[f"{layer}/gates"]) == pytest.approx(gates, abs=0.011)
    assert not any(name.startswith("encoder") for name in arrays)


@pytest.mark.parametrize("sizes", [[64], []])
def test_images_without_a_graph_are_refused(pair, sizes):
    with pytest.raises(ValueError, match="pairs must be square images of a size in"):
        live_payload(small_model(2), [pair], sizes=sizes, megabytes=15)


def test_the_piece_of_html_has_picture_data_and_module(pair):
    model = small_model(2)
    payload = live_payload(model, [pair], sizes=[32], megabytes=15)
    payload["pairs"][0]["name"] = "</script><b>"
    html = live_fragment(payload, live_picture(model, pair), folder="./live/")
    assert "</script><b>" not in html
    assert 'alt="Moving image, fixed image, moved image' in html
    data = html.split('<script type="application/json">')[1].split("</script>")[0]
    assert json.loads(data)["pairs"][0]["name"] == "</script><b>"
    assert 'from "./live/live.mjs"' in html
