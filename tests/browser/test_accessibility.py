"""axe-core finds nothing serious, in light and dark, wide and narrow."""

import pytest

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("layer", [0, 3])
def test_axe_has_no_serious_findings(open_page, case, axe_source, scheme, width, layer):
    page = open_page(case.path, color_scheme=scheme, viewport={"width": width, "height": 900})
    page.evaluate(
        """layer => document.querySelector('[data-moereg-explorer]').explorer.store.set(
            {layer, field: 'knockout:1', grid: true, arrows: true, track: 1})""",
        layer,
    )
    page.evaluate(axe_source)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    serious = [
        (rule["id"], [node["html"][:200] for node in rule["nodes"][:3]])
        for rule in found
        if rule["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_axe_would_find_something(open_page, axe_source, tmp_path):
    path = tmp_path / "bad.html"
    path.write_text("<html><body><img src='data:,'><button></button></body></html>")
    page = open_page(path, ready=None)
    page.evaluate(axe_source)
    found = {rule["id"] for rule in page.evaluate("axe.run()")["violations"]}
    assert {"image-alt", "button-name"} <= found
