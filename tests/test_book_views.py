"""Views on a page without a kernel: the saved state in the page, the module beside it, nothing of Jupyter's widgets."""

import json

import nbformat
import pytest

from book import live, views
from tools import node
from tools.notebooks import WIDGET_STATE, WIDGET_VIEW


def model(**state):
    return {"model_module": "anywidget", "model_name": "AnyModel", "state": state}


STATE = {
    "stills": model(_esm="code", frames=[{"text": "</script>"}], frame=0, layout="IPY_MODEL_l", tooltip=None),
    "explorer": model(payload={"title": "T", "data": None}, view="explorer")
    | {"buffers": [{"path": ["payload", "data"], "encoding": "base64", "data": "QUFB"}]},
    "slider": {"model_module": "@jupyter-widgets/controls", "model_name": "IntSliderModel", "state": {"value": 1}},
    "l": {"model_module": "@jupyter-widgets/base", "model_name": "LayoutModel", "state": {}},
}


def notebook(*shown):
    outputs = [nbformat.v4.new_output("display_data", data={WIDGET_VIEW: {"model_id": name}}) for name in shown]
    return nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("x", outputs=outputs)],
        metadata={"widgets": {WIDGET_STATE: {"state": json.loads(json.dumps(STATE))}}},
    )


def traits_in(output) -> dict:
    return json.loads(output["data"]["text/html"].split('<script type="application/json">')[1].split("</script>")[0])


def test_a_view_is_written_into_the_page_with_its_state():
    book = notebook("stills", "explorer")
    views.embed(book, STATE)
    stills, explorer = book.cells[0].outputs
    assert 'data-view="stills"' in stills["data"]["text/html"]
    assert traits_in(stills) == {"frames": [{"text": "</script>"}], "frame": 0}
    assert traits_in(explorer)["payload"] == {"title": "T", "data": "QUFB"}
    assert STATE["explorer"]["state"]["payload"]["data"] is None  # the notebook's own is left alone
    assert "widgets" not in book.metadata


def test_a_walk_has_words_for_readers_without_javascript():
    steps = [{"sentence": "One < two.", "quote": {"code": "a < b"}}, {"sentence": "Then.", "quote": {"code": "b"}}]
    words = views.in_words({"view": "steps", "payload": {"title": "layer", "steps": steps}})
    assert words.startswith("<p><strong>layer</strong></p><ol><li>One &lt; two. <code>a &lt; b</code></li>")
    assert words.endswith("<li>Then. <code>b</code></li></ol>")
    assert views.in_words(STATE["explorer"]["state"]) == ""


def test_controls_of_ipywidgets_stay():
    book = notebook("stills", "slider")
    views.embed(book, STATE)
    assert book.cells[0].outputs[1]["data"] == {WIDGET_VIEW: {"model_id": "slider"}}
    assert set(book.metadata["widgets"][WIDGET_STATE]["state"]) == {"slider", "l"}


def test_every_module_has_what_the_loader_asks_for(tmp_path):
    views.copy_files(tmp_path / "views")
    names = {path.name for path in (tmp_path / "views").iterdir()}
    assert names == {"views.mjs", *(f"{kind}.{ending}" for kind in views.KINDS for ending in ("mjs", "css"))}
    for kind in views.KINDS:
        assert "render" in (tmp_path / "views" / f"{kind}.mjs").read_text().splitlines()[-2]


def test_a_saved_model_tells_those_who_listen(tmp_path):
    script = tmp_path / "try.mjs"
    script.write_text(
        f'import {{ savedModel }} from "{(views.BOOK / "views.mjs").as_uri()}";\n'
        "const model = savedModel({ a: 1 }); const heard = [];\n"
        'const listen = () => heard.push(model.get("a"));\n'
        'model.on("change:a", listen); model.set("a", 2); model.off("change:a", listen); model.set("a", 3);\n'
        'model.send({}); model.save_changes(); console.log(JSON.stringify([heard, model.get("a")]));\n'
    )
    try:
        done = node.run("node", [str(script)], tmp_path)
    except node.NodeMissing as error:
        pytest.skip(str(error))
    assert done.stdout.strip() == "[[2],3]", done.stderr


def test_the_first_page_says_without_javascript_what_its_colours_mean():
    text = live.told_without_javascript({"colours": ["#111111", "#222222"], "experts": ["1²", "3²"]})
    assert text.startswith("<noscript><p>A recorded run: ")
    first, second = text.split("</span> 1² voxels, ")
    assert "background:#111111" in first
    assert "background:#222222" in second
    assert second.endswith("</span> 3² voxels.</p></noscript>\n")
