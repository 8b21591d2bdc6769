"""A network that runs in the reader's browser: what its page needs, and what stands there until it is loaded.

A page shows a recorded run at once: a few places of one handle, each with the network's own result. When a reader moves
something, the runtime and the graphs of `book/live` (`tools/onnx_export`) are loaded from the site, and the same view
shows what the network says live. The bend that handles make is the one of `js/src/live/images.mjs`:

    bent[x] = moving[x - sum_k m_k exp(-|x - c_k - m_k|^2 / (2 sigma^2))]        the tissue at c_k comes to c_k + m_k
"""

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor, nn

from moereg.checks import check_image
from moereg.data.pairs import Pair
from moereg.fields import warp
from moereg.models.registration import Registration
from moereg.viz.dragfield import Place, bumps
from moereg.viz.figures import show_grid, show_image
from moereg.viz.packing import Packer
from moereg.viz.palette import EXPERTS, expert_colours

FOLDER = Path(__file__).parent
CENTRES = ((0.36, 0.3), (0.36, 0.68), (0.66, 0.5))  # of the handles, shares of the image
WIDTH = 0.12  # of a bump, as a share of the image
RECORDED = ((0.0, 0.0), (0.03, 0.02), (0.06, 0.04), (0.06, -0.03), (-0.05, -0.04))  # moves of the first handle


def bent(
    image: Float[Tensor, "1 height width"], centres: Sequence[Place], moves: Sequence[Place]
) -> Float[Tensor, "1 height width"]:
    """The image with the tissue under every handle carried along; centres and moves are shares of its size.

    Raises:
        TypeError, ValueError: no floating-point `(1, H, W)`, or unequal numbers of centres and moves.
    """
    check_image("image", image[None])
    height, width = image.shape[1:]
    places = [((c[0] + m[0]) * height, (c[1] + m[1]) * width) for c, m in zip(centres, moves, strict=True)]
    back = [(-m[0] * height, -m[1] * width) for m in moves]
    return warp(image[None], bumps((height, width), places, back, WIDTH * height))[0]


def live_payload(model: nn.Module, pairs: Sequence[Pair], *, sizes: Sequence[int], megabytes: float) -> dict:
    """What the view needs: pairs, and the first one registered at every place in `RECORDED`.

    Args:
        model: a routed network in two dimensions, the one that the graphs were made from.
        pairs: square images of one size, which must be among `sizes`.
        sizes: of images that there are graphs for.
        megabytes: what the reader's browser loads when the network is started.

    Raises:
        ValueError: images that are not square, or of a size that has no graph.
    """
    size = pairs[0].moving.shape[-1]
    for pair in pairs:
        if tuple(pair.moving.shape) != (1, size, size) or size not in sizes:
            raise ValueError(f"pairs must be square images of a size in {list(sizes)}, got {tuple(pair.moving.shape)}.")
    packer = Packer()
    recorded, first = [], None
    for move in RECORDED:
        moves = [move, *[(0.0, 0.0)] * (len(CENTRES) - 1)]
        result = _registered(model, bent(pairs[0].moving, CENTRES, moves), pairs[0].fixed)
        first = first or result
        recorded.append({"moves": moves, "arrays": _arrays(packer, result)})
    assert first is not None
    layers = [name for name in sorted(first.routing) if first.routing[name].proposals is not None]
    experts = first.routing[layers[0]].experts
    image = {"precision": 1 / 255}
    return {
        "size": size,
        "sizes": list(sizes),
        "megabytes": megabytes,
        "centres": [list(centre) for centre in CENTRES],
        "layers": layers,
        "experts": list(experts),
        "colours": expert_colours(experts),
        "pairs": [
            {
                "name": pair.name,
                "moving": packer.add(pair.moving[0], **image),
                "fixed": packer.add(pair.fixed[0], **image),
            }
            for pair in pairs
        ],
        "recorded": recorded,
        "data": packer.close(),
    }


def _registered(model: nn.Module, moving: Tensor, fixed: Tensor) -> Registration:
    with torch.no_grad():
        return model(moving[None], fixed[None])


def _arrays(packer: Packer, result: Registration) -> dict[str, dict]:
    """Displacement, gates and shares under the names that the graphs give their outputs."""
    arrays = {"displacement": packer.add(result.displacement[0], precision=0.05)}
    for name, routing in result.routing.items():
        if routing.proposals is not None:
            arrays[f"{name}/gates"] = packer.add(routing.gates[0], precision=0.02)
            arrays[f"{name}/shares"] = packer.add(routing.contributions[0], precision=0.05)
    return arrays


def live_picture(model: nn.Module, pair: Pair) -> tuple[bytes, str]:
    """What the view shows first, as a PNG for readers without JavaScript, and a sentence that describes it."""
    result = _registered(model, pair.moving, pair.fixed)
    name = min(name for name, routing in result.routing.items() if routing.proposals is not None)
    routing = result.routing[name]
    figure = Figure(figsize=(10, 2.9), dpi=90, facecolor="white", layout="constrained")
    axes = figure.subplots(1, 4)
    show_image(axes[0], pair.moving[0], title="moving image")
    show_grid(axes[0], result.displacement[0], every=4)
    show_image(axes[1], pair.fixed[0], title="fixed image")
    show_image(axes[2], result.warped[0, 0], title="moved image")
    colours = torch.tensor([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in expert_colours(routing.experts)])
    axes[3].imshow(colours[routing.first()[0, 0]].numpy())
    axes[3].set_title("expert with the largest gate, down", fontsize=9)
    axes[3].set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    before, after = ((image - pair.fixed).abs().mean() for image in (pair.moving, result.warped[0]))
    text = (
        f"Moving image, fixed image, moved image, and a map of experts in {len(set(EXPERTS[: len(routing.experts)]))} "
        f"colours. Difference to the fixed image {before:.3f} before, {after:.3f} after."
    )
    return buffer.getvalue(), text


def live_fragment(payload: dict, picture: tuple[bytes, str], *, folder: str) -> str:
    """A piece of HTML for a page: the picture, the data, and the module that takes its place.

    Args:
        payload: of `live_payload`.
        picture: of `live_picture`.
        folder: where the module, the runtime, the graphs and the weights lie, seen from the page: "./live/".
    """
    content, text = picture
    source = base64.b64encode(content).decode()
    data = json.dumps(payload, allow_nan=False).replace("<", "\\u003c")
    return (
        f"<style>\n{(FOLDER / 'live.css').read_text(encoding='utf-8')}</style>\n"
        f'<div data-moereg-live><div data-moereg-mount><img src="data:image/png;base64,{source}" alt="{text}"></div>\n'
        f'<script type="application/json">{data}</script></div>\n'
        f'<script type="module">import {{ mountAll }} from "{folder}live.mjs";\n'
        f"mountAll(document, new URL({json.dumps(folder)}, document.baseURI), (address) => import(address));</script>\n"
    )
