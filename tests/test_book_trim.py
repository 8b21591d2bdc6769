"""Pages carry what they use: formulas and icons as drawn shapes, a description, a picture for previews."""

import re

import numpy as np
import pytest
from PIL import Image

from book import build, pictures, previews, trim

PAGE = (
    "<html><head><title>Fields &amp; warps</title>"
    "<script>window.MathJax = {}</script>\n"
    '<script defer="defer" src="_static/vendor/tex-svg-full.js?v=1"></script>'
    '<script defer src="_static/scripts/fontawesome.js?digest=5"></script></head><body class="a">'
    '<article><p class="take-away">About 40 minutes. Take it away: <a download>notebook</a></p>'
    "<p>A field says for every voxel where it looks, at length, "
    '<span class="math notranslate nohighlight">\\(a &lt; b\\)</span> here.</p>'
    '<div class="math notranslate nohighlight" id="equation-x">\n<span class="eqno">(1)</span>\\[x\\]</div>'
    '<img alt="A" src="_images/one.png"></article><i class="fa-solid fa-bars fa-lg" data-mode="x"></i></body></html>'
)
SHAPE = '<mjx-container><svg role="img"{}><defs><path id="MJX-{}-A" d="M1"></path></defs>{}</svg></mjx-container>'
DRAWN = {
    ("a < b", False): SHAPE.format(' focusable="false" xmlns="http://a/b"', 3, '<use xlink:href="#MJX-3-A"></use>'),
    ("x", True): SHAPE.format("", 9, '<use xlink:href="#MJX-9-A"></use>'),
}


def test_formulas_are_found_as_they_were_written():
    assert trim.formulas_of(PAGE) == set(DRAWN)


def test_a_formula_becomes_a_shape_with_its_tex_for_a_name_and_glyphs_stand_once():
    page = trim.with_formulas(PAGE, DRAWN, root="../")
    assert page.count('<path id="MJX-A" d="M1"/>') == 1
    assert page.count('<use href="#MJX-A">') == 2
    assert 'aria-label="a &lt; b"' in page
    assert (
        '<div class="math notranslate nohighlight" id="equation-x">\n<span class="eqno">(1)</span><mjx-container>'
        in page
    )
    assert "MathJax" not in page
    assert "tex-svg-full" not in page
    assert '<link rel="stylesheet" href="../_static/formulas.css">' in page


def test_a_page_without_formulas_only_loses_the_script():
    page = trim.with_formulas("<head><script src='tex-svg-full.js'></script></head><body></body>", {}, root="")
    assert page == "<head></head><body></body>"


def test_icons_become_shapes_and_their_script_is_left_away():
    shapes = trim.icons('{bars:[448,512,["navicon"],"f0c9","M0 96z"],"circle-dot":[5,6,[128,"dot"],"f1","M1z"]}')
    assert shapes["navicon"] == ("448", "512", "M0 96z")
    assert shapes["dot"] == ("5", "6", "M1z")
    page = trim.with_icons(PAGE, shapes)
    assert "fontawesome" not in page
    assert (
        '<svg class="svg-inline--fa fa-solid fa-bars fa-lg" data-mode="x" aria-hidden="true" viewBox="0 0 448 512">'
        in page
    )
    assert trim.accessible(trim.UNNAMED) == trim.NAMED
    with pytest.raises(trim.TrimError, match="icons must be among those of the theme, got 'bars'"):
        trim.with_icons(PAGE, {})


def test_real_formulas_are_drawn_and_a_wrong_one_is_named():
    mathjax = build.VENDOR / "mathjax"
    if not mathjax.exists():
        pytest.skip("MathJax is fetched by the first make book")
    drawn, style = trim.draw({("u(x)", False), (r"\lambda", True)}, mathjax)
    assert all(svg.startswith("<mjx-container") for svg in drawn.values())
    assert "mjx-container" in style
    with pytest.raises(trim.TrimError, match=r"got '\\\\frac\{1'"):
        trim.draw({(r"\frac{1", False)}, mathjax)


def test_a_page_describes_itself_by_its_first_paragraph_and_figure():
    page = PAGE + " "
    tags = previews.tags_of(page, "api/page.html")
    assert 'name="description" content="A field says for every voxel where it looks, at length, ' in tags
    assert 'og:title" content="Fields &amp; warps"' in tags
    assert 'og:image" content="../_images/one.png"' in tags
    assert 'og:image" content="https://site/_images/one.png"' in previews.tags_of(page, "p.html", "https://site/")
    bare = previews.tags_of("<title>T</title><p>Short.</p>", "p.html")
    assert 'content="T"' in bare
    assert 'content="_static/preview.png"' in bare


def test_a_long_description_ends_with_a_word():
    text = previews.description("<p>" + "word " * 80 + "</p>")
    assert len(text) <= 202
    assert re.fullmatch(r"(word )+…", text)


def test_figures_become_smaller_and_pages_show_them(tmp_path):
    (tmp_path / "_images").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "_images" / "large.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "_images" / "small.png")
    page = tmp_path / "page.html"
    page.write_text('<img src="_images/large.png"><img src="_images/small.png">')
    pictures.shrink(tmp_path)
    assert page.read_text() == '<img src="_images/large.webp"><img src="_images/small.png">'
    assert {path.name for path in (tmp_path / "_images").iterdir()} == {"large.webp", "small.png"}


def test_roles_and_stops_that_sphinx_and_mathjax_leave_out():
    citations = '<div role="list" class="citation-list">\n<div class="citation">A</div>\n</div>'
    assert trim.accessible(citations) == citations.replace('role="list" ', "")
    wide = '<mjx-container class="MathJax" jax="SVG" display="true"'
    assert trim.accessible(f"{wide}><svg></svg>") == f'{wide} tabindex="0"><svg></svg>'
    assert trim.accessible('<table class="table">') == '<table class="table" tabindex="0">'
    assert trim.accessible('<table class="docutils table x">') == '<table class="docutils table x" tabindex="0">'
    assert trim.accessible('<table class="stable">') == '<table class="stable">'
    assert trim.accessible('<mjx-container class="MathJax" jax="SVG">') == '<mjx-container class="MathJax" jax="SVG">'


def test_parameters_of_a_long_signature_are_a_list():
    parameter = '<dd><em class="sig-param"><span>{}</span></em>,</dd>\n'
    signature = f"<dl>\n{parameter.format('a')}{parameter.format('b')}</dl>"
    item = '<li><em class="sig-param"><span>{}</span></em>,</li>\n'
    listed = f'<ul class="sig-params">{item.format("a")}{item.format("b")}</ul>'
    assert trim.accessible(f"<p>x</p>{signature}") == f"<p>x</p>{listed}"
    defined = "<dl>\n<dt>term</dt>\n<dd><p>meaning</p></dd>\n</dl>"
    assert trim.accessible(defined) == defined
