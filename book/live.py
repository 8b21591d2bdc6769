"""The network that runs in the landing page: its files among the site's scripts, its recorded run in the page."""

import functools
import json
import shutil
from pathlib import Path

from moereg.data import datasets, phantoms
from moereg.models import load_model
from moereg.viz.live import live_fragment, live_payload, live_picture

BOOK = Path(__file__).resolve().parent
FOLDER = BOOK / "live"  # graphs and weights, of tools/onnx_export
BUNDLE = BOOK.parent / "moereg" / "viz" / "live.mjs"
SHOWN = 96  # voxels along each side of the images; the network was trained at 64, it can do this too
WHERE = "./_static/vendor/live/"

# The runtime: npm package -> {file in it: (name under _static/vendor, SHA-256)}. Only the landing page loads it.
FROM_NPM = {
    "onnxruntime-web@1.30.0": {
        "dist/ort.wasm.min.mjs": (
            "live/ort.wasm.min.mjs",
            "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
        ),
        "dist/ort-wasm-simd-threaded.mjs": (
            "live/ort-wasm-simd-threaded.mjs",
            "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
        ),
        "dist/ort-wasm-simd-threaded.wasm": (
            "live/ort-wasm-simd-threaded.wasm",
            "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
        ),
    },
}


def copy_files(vendor: Path) -> None:
    """Put the module, the graphs and the weights into the folder that holds the runtime, if it could be fetched."""
    target = vendor / "live"
    target.mkdir(parents=True, exist_ok=True)
    for path in (*FOLDER.glob("*.onnx"), FOLDER / "weights.bin", BUNDLE):
        shutil.copy(path, target)
    shutil.copy(BOOK / "live-worker.mjs", target / "worker.mjs")


def megabytes(vendor: Path) -> float:
    """What a browser loads when a reader starts the network."""
    parts = [path for path in (vendor / "live").iterdir() if path.suffix in (".mjs", ".wasm")]
    parts += [FOLDER / "weights.bin", FOLDER / f"graph-{SHOWN}.onnx"]
    return round(sum(path.stat().st_size for path in parts) / 1e6)


def picture() -> bytes:
    """What the view shows first, as a PNG."""
    model, pairs = _shown()
    return live_picture(model, pairs[0])[0]


def page_part(vendor: Path) -> str:
    """The view with its recorded run, as HTML."""
    card = json.loads((FOLDER / "card.json").read_text(encoding="utf-8"))
    model, pairs = _shown()
    payload = live_payload(model, pairs, sizes=card["sizes"], megabytes=megabytes(vendor))
    return live_fragment(payload, live_picture(model, pairs[0]), folder=WHERE) + told_without_javascript(payload)


def told_without_javascript(payload: dict) -> str:
    """Below the picture, where nothing can be pulled: why, and what its colours mean."""
    patch = (
        '<span aria-hidden="true" style="display:inline-block;width:0.8em;height:0.8em;background:{}"></span> {} voxels'
    )
    pairs = zip(payload["colours"], payload["experts"], strict=True)
    legend = ", ".join(patch.format(colour, name) for colour, name in pairs)
    return (
        "<noscript><p>A recorded run: with JavaScript handles can be pulled, and the network runs in this page. "
        f"Experts are filters, told apart by how far they look: {legend}.</p></noscript>\n"
    )


@functools.cache
def _shown() -> tuple:
    """The network and the pairs of the page."""
    card = json.loads((FOLDER / "card.json").read_text(encoding="utf-8"))
    model = load_model(card["network"])
    abdomens = datasets.load("abdomen", "test", shape=(SHOWN, SHOWN), count=8)
    heart = phantoms.make("cardiac", (SHOWN, SHOWN), 5)
    named = {"an abdomen": abdomens[5], "another abdomen": abdomens[7], "a heart, never seen in training": heart}
    return model, [type(pair)(**{**pair.__dict__, "name": name}) for name, pair in named.items()]
