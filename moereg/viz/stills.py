"""Controls over pictures that were computed beforehand: they work in a notebook and on a saved page, without a kernel.

    stills(show_routing, temperature=[0.25, 1, 4], layer=["fine", "coarse"], alt="A map of routes.")

calls `show_routing` once for every combination and keeps what it drew and printed. It takes the place of ipywidgets'
`interact` where the combinations are few: on a page of the site a slider of `interact` moves nothing.
"""

import base64
import io
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import anywidget
import traitlets
from IPython.utils.capture import capture_output
from PIL import Image

FOLDER = Path(__file__).parent
MOST = 60  # pictures, of about 20 kilobytes each
WIDEST = 900  # pixels of a picture; a page's text is 700 wide


class Stills(anywidget.AnyWidget):
    """What `stills` shows. `frame` counts the combinations, last control fastest; it follows the view, and leads it."""

    _esm = (FOLDER / "stills.mjs").read_text(encoding="utf-8")
    _css = (FOLDER / "stills.css").read_text(encoding="utf-8")

    controls = traitlets.List(help="label and values, as text, of every control").tag(sync=True)
    frames = traitlets.List(help="source of a picture and printed text of every combination").tag(sync=True)
    alt = traitlets.Unicode(help="what all pictures show").tag(sync=True)
    frame = traitlets.Int(0).tag(sync=True)

    def __init__(self, *, poster: bytes | None, **traits):
        self._poster = poster
        super().__init__(**traits)

    @traitlets.validate("frame")
    def _check_frame(self, proposal):
        if not 0 <= proposal["value"] < len(self.frames):
            raise traitlets.TraitError(f"frame must be 0 to {len(self.frames) - 1}, got {proposal['value']}.")
        return proposal["value"]

    def _repr_mimebundle_(self, **options) -> tuple[dict, dict] | None:
        """The view, and the first picture for places that show no widgets, with its text."""
        bundle = super()._repr_mimebundle_(**options)
        if bundle is None or self._poster is None:
            return bundle
        data, metadata = bundle
        picture = base64.b64encode(self._poster).decode()
        return data | {"image/png": picture}, metadata | {"image/png": {"alt": self.alt}}


def stills(
    draw: Callable[..., object], *, alt: str, start: dict[str, object] | None = None, **controls: Sequence
) -> Stills:
    """Call `draw` for every combination of its arguments' values, and let the reader choose among what it drew.

    Args:
        draw: a function that draws with pyplot, prints, or both, as for `interact`.
        alt: what the pictures show, for readers who do not see them; the chosen values are added.
        start: value of some controls at the beginning; the others begin with their first.
        controls: values of each argument. A name's underscores are shown as spaces.

    Raises:
        ValueError: no control, a control without values, more than 60 combinations, or a start that is no value.
    """
    if not controls or not all(len(values) for values in controls.values()):
        raise ValueError(f"controls must have values each, got { ({k: len(v) for k, v in controls.items()}) }.")
    combinations = list(itertools.product(*controls.values()))
    if len(combinations) > MOST:
        raise ValueError(f"controls must have at most {MOST} combinations, got {len(combinations)}.")
    places = [_place(name, values, (start or {}).get(name, values[0])) for name, values in controls.items()]
    first = 0
    for place, values in zip(places, controls.values(), strict=True):
        first = first * len(values) + place
    drawn = [_drawn(draw, dict(zip(controls, values, strict=True))) for values in combinations]
    return Stills(
        poster=drawn[first][0],
        controls=[
            {"label": name.replace("_", " "), "values": [_text(value) for value in values]}
            for name, values in controls.items()
        ],
        frames=[{"source": _source(picture), "text": text} for picture, text in drawn],
        alt=alt,
        frame=first,
    )


def _place(name: str, values: Sequence, value: object) -> int:
    if value not in list(values):
        raise ValueError(f"start must hold one of {list(values)} for {name}, got {value!r}.")
    return list(values).index(value)


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _drawn(draw: Callable[..., object], values: dict[str, object]) -> tuple[bytes | None, str]:
    """The first picture that a call draws, as PNG, and what it prints."""
    import matplotlib.pyplot as plt

    open_before = set(plt.get_fignums())
    with capture_output() as captured:
        draw(**values)
    pictures = [output.data["image/png"] for output in captured.outputs if "image/png" in output.data]
    own = [number for number in plt.get_fignums() if number not in open_before]
    if pictures:
        picture = base64.b64decode(pictures[0]) if isinstance(pictures[0], str) else pictures[0]
    elif own:  # outside of a notebook nothing is shown by itself
        buffer = io.BytesIO()
        plt.figure(own[0]).savefig(buffer, format="png")
        picture = buffer.getvalue()
    else:
        picture = None
    for number in own:
        plt.close(number)
    return picture, captured.stdout.strip()


def _source(picture: bytes | None) -> str:
    """A picture as a short address with all its data inside: WebP, which is a fraction of PNG."""
    if picture is None:
        return ""
    buffer, image = io.BytesIO(), Image.open(io.BytesIO(picture)).convert("RGB")
    image.thumbnail((WIDEST, image.height))
    image.save(buffer, format="WEBP", quality=75, method=5)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
