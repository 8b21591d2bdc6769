"""Views on a page without a kernel: each is written into the page with its saved state, and its module is loaded once.

In a notebook a view is a widget, and its state holds a copy of the module. On the site the module lies in
`_static/views`, the state in the page, and `book/views.mjs` brings both together. So a chapter whose controls are all
views needs nothing of Jupyter's widgets (four megabytes of scripts). Controls of ipywidgets stay what they are.
"""

import json
import shutil
from html import escape
from pathlib import Path

from nbformat import NotebookNode, from_dict

from tools.notebooks import WIDGET_STATE, WIDGET_VIEW

BOOK = Path(__file__).resolve().parent
VIZ = BOOK.parent / "moereg" / "viz"
# A module, and the trait by which a saved state shows that it belongs to it.
KINDS = {"stills": "frames", "dragfield": "centres", "explorer": "payload"}
PLACE = "_static/views"
LOADER = f'<script type="module">import {{ mountViews }} from "./{PLACE}/views.mjs"; mountViews(document);</script>'


def kind_of(model: dict) -> str | None:
    """The module that a saved model belongs to, or None for a widget of others."""
    if model.get("model_module") != "anywidget":
        return None
    return next((kind for kind, trait in KINDS.items() if trait in model.get("state", {})), None)


def traits_of(model: dict) -> dict:
    """What a view needs of its saved state; blocks of bytes are put where they were, as base64."""
    traits = {
        name: json.loads(json.dumps(value))
        for name, value in model["state"].items()
        if not name.startswith("_") and name not in ("layout", "tabbable", "tooltip")
    }
    for buffer in model.get("buffers", ()):
        target = traits
        for step in buffer["path"][:-1]:
            target = target[step]
        target[buffer["path"][-1]] = buffer["data"]
    return traits


def embed(notebook: NotebookNode, state: dict) -> None:
    """Write every view of ours into its output, in place, and forget the state of widgets that no output shows."""
    found = False
    for cell in notebook.cells:
        for place, output in enumerate(cell.get("outputs", ())):
            model = state.get(output.get("data", {}).get(WIDGET_VIEW, {}).get("model_id"), {})
            if (kind := kind_of(model)) is not None:
                cell.outputs[place] = from_dict(
                    {"output_type": "display_data", "metadata": {}, "data": {"text/html": html(kind, traits_of(model))}}
                )
                found = True
    shown = {model for cell in notebook.cells for model in _shown(cell)}
    if not shown:
        notebook.metadata.pop("widgets", None)
    elif found:
        kept = {name: model for name, model in state.items() if kind_of(model) is None}
        notebook.metadata["widgets"][WIDGET_STATE]["state"] = kept


def html(kind: str, traits: dict) -> str:
    """A place for a view, its state beside it."""
    data = json.dumps(traits, separators=(",", ":")).replace("<", "\\u003c")
    return (
        f'<div class="moereg-view" data-view="{kind}"><div data-mount></div>'
        f'<script type="application/json">{data}</script></div>{LOADER}'
    )


def _shown(cell: NotebookNode) -> list[str]:
    outputs = (output.get("data", {}) for output in cell.get("outputs", ()))
    return [data[WIDGET_VIEW]["model_id"] for data in outputs if WIDGET_VIEW in data]


def copy_files(target: Path) -> None:
    """The modules, their style sheets, and the loader."""
    target.mkdir(parents=True)
    for kind in KINDS:
        for ending in ("mjs", "css"):
            shutil.copy(VIZ / f"{kind}.{ending}", target)
    shutil.copy(BOOK / "views.mjs", target)


def in_words(state: dict) -> str:
    """A walk through one decision for readers without JavaScript, as HTML: its steps one below the other.

    Empty for every other view; those have pictures.
    """
    if state.get("view") != "steps":
        return ""
    walk = state["payload"]
    steps = (f"<li>{escape(one['sentence'])} <code>{escape(one['quote']['code'])}</code></li>" for one in walk["steps"])
    return f"<p><strong>{escape(walk['title'])}</strong></p><ol>{''.join(steps)}</ol>"
