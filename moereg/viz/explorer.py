"""The explorer as a widget for notebooks. `Explorer(model, pair)` in the last line of a cell shows it.

What is looked at is shared with Python through traits, both ways: after a click in the view `explorer.voxel` is that
voxel, and `explorer.voxel = (10, 20, 30)` moves the view. Controls under "Run again" change `k`, `without` and
`temperature`; the network then runs again on the pair, and so it does when these are set from Python.
"""

import base64
from pathlib import Path

import anywidget
import traitlets
from torch import nn

from moereg.data.pairs import Pair
from moereg.nn.observe import find_routers, rerouted
from moereg.nn.shmoe import DIRECTIONS
from moereg.viz.payload import explorer_payload
from moereg.viz.steps import router_steps

FOLDER = Path(__file__).parent


class _View(anywidget.AnyWidget):
    """What both widgets share: one module, one style sheet."""

    _esm = (FOLDER / "explorer.mjs").read_text(encoding="utf-8")
    _css = (FOLDER / "explorer.css").read_text(encoding="utf-8")
    view = traitlets.Unicode().tag(sync=True)
    payload = traitlets.Dict().tag(sync=True)


class Explorer(_View):
    """Look into every routing decision of `model` on `pair`.

    Args:
        model: `model(moving, fixed) -> Registration`.
        pair: what is registered.
        knockouts: run the network without each expert beforehand, so that a saved page can show it without a kernel.
        snapshots, history, title: see `moereg.viz.explorer_payload`.
        detail: "page" keeps a saved notebook small, "full" keeps every voxel of every layer.
        traits: any of the traits below, to open the view there.
    """

    voxel = traitlets.Tuple(help="pinned voxel of the image, one whole number per axis").tag(sync=True)
    plane = traitlets.Unicode(help="axis that the large slice cuts across; empty in 2-D").tag(sync=True)
    layer = traitlets.Unicode(help="routed layer, a key of Registration.routing").tag(sync=True)
    direction = traitlets.Unicode(help="router of that layer: z, y, x; for an encoder layer the image").tag(sync=True)
    expert = traitlets.Unicode(help="expert of that layer, by name").tag(sync=True)
    image = traitlets.Enum(["fixed", "moving", "warped", "checkerboard", "difference"], "warped").tag(sync=True)
    show = traitlets.Enum(["first", "gate", "entropy"], "first", help="kind of routing map").tag(sync=True)
    field = traitlets.Unicode("result", help="'result', 'none', 'knockout:3', 'snapshot:0', 'step:1'").tag(sync=True)
    k = traitlets.Dict(help="layer -> experts per voxel, where it differs from the model's").tag(sync=True)
    without = traitlets.Dict(help="layer -> names of experts that are left out").tag(sync=True)
    temperature = traitlets.Float(1.0, min=0.01, help="logits of all routers are divided by it").tag(sync=True)

    def __init__(
        self,
        model: nn.Module,
        pair: Pair,
        *,
        knockouts: bool = True,
        snapshots=(),
        history: dict | None = None,
        title: str | None = None,
        detail: str = "page",
        **traits,
    ):
        options = {"snapshots": snapshots, "history": history, "title": title, "detail": detail}
        opened = (traits["layer"], traits["voxel"]) if {"layer", "voxel"} <= traits.keys() else None
        if opened and not _inside(opened[1], pair.shape):
            opened = None  # the trait's validator refuses it below
        payload = explorer_payload(model, pair, knockouts=knockouts, opened=opened, **options)
        first = payload["layers"][0] if payload["layers"] else None
        start = {
            "voxel": tuple(payload["start"]),
            "plane": DIRECTIONS[3][payload["plane"]] if len(pair.shape) == 3 else "",
            "layer": first["name"] if first else "",
            "direction": first["tracks"][0] if first else "",
            "expert": first["experts"][0] if first else "",
        }
        # Set before the traits are checked: the validators read them.
        self._model, self._pair, self._options, self._as_trained = model, pair, options, payload
        self._layers = {layer["name"]: layer for layer in payload["layers"]}
        super().__init__(view="explorer", payload=_as_bytes(payload), **(start | traits))
        self.on_msg(self._answer)
        self.observe(self._run_again, ["k", "without", "temperature"])

    @traitlets.validate("voxel")
    def _check_voxel(self, proposal):
        voxel, shape = tuple(proposal["value"]), self._pair.shape
        if not _inside(voxel, shape):
            raise traitlets.TraitError(f"voxel must be {len(shape)} whole numbers inside {shape}, got {voxel}.")
        return voxel

    @traitlets.validate("layer")
    def _check_layer(self, proposal):
        # A model without routing has no layer, and the empty name for it.
        return _one_of("layer", proposal["value"], self._layers or [""])

    @traitlets.observe("layer")
    def _on_layer(self, change):
        """Directions and experts belong to a layer: keep them if the new layer has them, else take its first ones."""
        layer = self._layers.get(change["new"], {"tracks": [""], "experts": [""]})
        if self.direction not in layer["tracks"]:
            self.direction = layer["tracks"][0]
        if self.expert not in layer["experts"]:
            self.expert = layer["experts"][0]

    @traitlets.validate("without")
    def _check_without(self, proposal):
        for name, experts in proposal["value"].items():
            known = self._layers[_one_of("without", name, self._layers)]["experts"]
            for expert in experts:
                _one_of("without", expert, known)
            if len(set(experts)) >= len(known):
                raise traitlets.TraitError(f"without must leave at least one expert of {name}, got {sorted(experts)}.")
        return proposal["value"]

    @traitlets.validate("k")
    def _check_k(self, proposal):
        for name, k in proposal["value"].items():
            most = len(self._layers[_one_of("k", name, self._layers)]["experts"])
            if not isinstance(k, int) or not 1 <= k <= most:
                raise traitlets.TraitError(f"k of {name} must be a whole number from 1 to {most}, got {k!r}.")
        return proposal["value"]

    def _repr_mimebundle_(self, **options) -> tuple[dict, dict] | None:
        """The view, and a picture for places that show no widgets, with its text."""
        bundle = super()._repr_mimebundle_(**options)
        poster = self._as_trained["poster"]
        if bundle is None or poster is None:
            return bundle
        data, metadata = bundle
        picture = poster["src"].split(",", 1)[1]
        return data | {"image/png": picture}, metadata | {"image/png": {"alt": poster["alt"]}}

    def _run_again(self, _) -> None:
        """Run the network as the controls say, and show that result. As trained, the first result is shown again."""
        without = {name: tuple(experts) for name, experts in self.without.items() if experts}
        if not without and not self.k and self.temperature == 1:
            self.payload = _as_bytes(self._as_trained)
            return
        indices = {
            name: tuple(self._layers[name]["experts"].index(expert) for expert in experts)
            for name, experts in without.items()
        }
        try:
            with rerouted(find_routers(self._model), without=indices, k=self.k, temperature=self.temperature):
                payload = explorer_payload(self._model, self._pair, knockouts=False, poster=False, **self._options)
        except BaseException:
            self.send({"failed": True})
            raise
        self.payload = _as_bytes(payload | {"trained": self._as_trained["metrics"]})

    def _answer(self, _, content: dict, __) -> None:
        """The view asks whether there is a Python that runs the network again."""
        if content.get("hello"):
            self.send({"alive": True})


class RouterSteps(_View):
    """Walk one voxel through one routed layer, a sentence and a line of source per step.

    Args:
        model, pair: as for `Explorer`.
        layer, voxel, direction, image: which decision (see `moereg.viz.steps.router_steps`). Setting one of these
            traits later walks through that decision. To follow an explorer:
            `traitlets.dlink((explorer, "voxel"), (steps, "voxel"))`.
    """

    step = traitlets.Int(0, help="number of the step that is shown, from 0").tag(sync=True)
    layer = traitlets.Unicode()
    voxel = traitlets.Tuple()
    direction = traitlets.Union([traitlets.Int(), traitlets.Unicode()], default_value=0)
    image = traitlets.Enum(["fixed", "moving"], "fixed")

    def __init__(self, model: nn.Module, pair: Pair, *, layer: str, voxel: tuple[int, ...], direction=0, image="fixed"):
        self._model, self._pair = model, pair
        which = {"layer": layer, "voxel": tuple(voxel), "direction": direction, "image": image}
        super().__init__(view="steps", payload=router_steps(model, pair, **which), **which)
        self.observe(self._follow, ["layer", "voxel", "direction", "image"])

    def _follow(self, _) -> None:
        self.payload = router_steps(
            self._model, self._pair, layer=self.layer, voxel=self.voxel, direction=self.direction, image=self.image
        )


def _inside(voxel: tuple, shape: tuple[int, ...]) -> bool:
    whole = len(voxel) == len(shape) and all(isinstance(v, int) for v in voxel)
    return whole and all(0 <= v < size for v, size in zip(voxel, shape, strict=True))


def _as_bytes(payload: dict) -> dict:
    """The block of data travels beside the JSON, not in it."""
    return {k: v for k, v in payload.items() if k != "poster"} | {"data": base64.b64decode(payload["data"])}


def _one_of(name: str, value: str, known) -> str:
    if value not in known:
        raise traitlets.TraitError(f"{name} must be one of {list(known)}, got {value!r}.")
    return value
