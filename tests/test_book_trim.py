"""Pages carry what they use: formulas and icons as drawn shapes, a description, a picture for previews."""

import base64
import io
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


def test_brackets_and_points_stay_with_their_formula():
    math = '<span class="math notranslate nohighlight">\\(a &lt; b\\)</span>'
    page = trim.with_formulas(f"<p>{math}, so ({math}). Then {math} holds {math}-like</p>", DRAWN, root="")
    kept = re.findall(r'<span class="kept">(\(?)<span class="math.*?</mjx-container></span>([^<]*)</span>', page)
    assert kept == [("", ","), ("(", ").")]
    assert page.count("<mjx-container") == 4


def test_options_and_arrows_are_not_torn_at_their_hyphens():
    word = '<span class="pre">{}</span>'
    kept = '<span class="pre kept">{}</span>'
    for text in ("--no-report", "-&gt;", "x" * 20 + "-&gt;"):
        assert trim.accessible(word.format(text)) == kept.format(text)
    for text in ("image", "demons-" * 4):
        assert trim.accessible(word.format(text)) == word.format(text)


def test_the_name_of_a_module_breaks_at_its_points():
    page = trim.accessible('<title>moereg.nn.shmoe</title><h1>moereg.nn.shmoe<a href="#moereg.nn">#</a></h1>')
    assert page == '<title>moereg.nn.shmoe</title><h1>moereg.<wbr>nn.<wbr>shmoe<a href="#moereg.nn">#</a></h1>'


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


def shapes_picture() -> Image.Image:
    """Something like a figure: smooth grey values, a few lines of colour."""
    rows, columns = np.mgrid[:240, :320] / 40
    grey = 128 + 90 * np.sin(rows) * np.cos(columns)
    picture = np.repeat(grey[..., None], 3, axis=2)
    picture[::30] = (232, 165, 58)
    noise = np.random.default_rng(0).normal(0, 6, picture.shape[:2])[..., None]
    return Image.fromarray((picture + noise).clip(0, 255).astype(np.uint8))


def test_a_picture_that_looks_the_same_has_fewer_bytes_and_no_other_is_taken():
    image = shapes_picture()
    drawn, buffer = np.asarray(image), io.BytesIO()
    image.save(buffer, format="PNG")
    content = pictures.encoded(image)
    shown = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    assert len(content) < buffer.tell() / 2
    assert pictures.alike(drawn, shown)
    assert not pictures.alike(drawn, np.roll(drawn, 2, axis=1))  # two pixels aside
    spoiled = drawn.copy()
    spoiled[:20, :20] = 255 - spoiled[:20, :20]  # one corner
    assert not pictures.alike(drawn, spoiled)
    assert not pictures.alike(drawn, drawn[..., ::-1])  # other colours


def test_transparent_places_are_white():
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert np.asarray(pictures.flat(image)).min() == 255


def test_figures_become_files_that_wait_for_the_reader_and_have_room(tmp_path):
    (tmp_path / "_images").mkdir()
    shapes_picture().save(tmp_path / "_images" / "large.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "_images" / "small.png")
    inside = io.BytesIO()
    shapes_picture().resize((160, 120)).save(inside, format="PNG")
    uri = "data:image/png;base64," + base64.b64encode(inside.getvalue()).decode()
    page = tmp_path / "page.html"
    page.write_text(
        f'<img src="_images/large.png"><img alt="s" src="_images/small.png" /><noscript><img src="{uri}"></noscript>'
        f'<script>{{"source":"{uri}"}}</script>'
    )
    pictures.shrink(tmp_path)
    text = page.read_text()
    assert '<img src="_images/large.webp" width="320" height="240">' in text
    assert '<img alt="s" src="_images/small.png" width="4" height="4" loading="lazy" />' in text
    (name,) = set(re.findall(r"_images/([0-9a-f]{32}\.webp)", text))  # once, for the picture and for the view
    assert text.count(name) == 2
    assert "base64" not in text
    assert {path.name for path in (tmp_path / "_images").iterdir()} == {"large.webp", "small.png", name}


def test_scripts_let_the_page_be_drawn_first_and_only_the_search_searches():
    head = (
        '<script src="_static/documentation_options.js?v=1"></script><script src="_static/doctools.js?v=2"></script>'
        "<script>let a = 1;</script><script type='module' src='m.js'></script>"
        '<script src="_static/searchtools.js"></script><script src="searchindex.js"></script>'
    )
    page = f'<head>{head}</head><script src="_static/late.js"></script>'
    quick = trim.quick(page, searches=False)
    assert '<script src="_static/documentation_options.js?v=1"></script>' in quick
    assert '<script defer src="_static/doctools.js?v=2"></script><script>let a = 1;</script>' in quick
    deeper = '<head><script src="../_static/documentation_options.js?v=1"></script></head>'
    assert trim.quick(deeper, searches=False) == deeper
    assert "searchindex" not in quick
    assert "searchtools" not in quick
    assert quick.endswith('</head><script src="_static/late.js"></script>')
    assert trim.quick(page, searches=True) == page


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


def test_the_search_appends_only_summaries_that_are_there():
    script = "if (data)\n listItem.appendChild(\n  Search.makeSearchSummary(data, terms, anchor)\n );\nmore();"
    assert trim.with_summaries_that_are_there(script) == (
        'if (data)\n listItem.append(Search.makeSearchSummary(data, terms, anchor) ?? "");\nmore();'
    )
    with pytest.raises(trim.TrimError, match="must append a summary at one place, got 0"):
        trim.with_summaries_that_are_there("more();")


def test_modules_of_a_package_stand_in_its_item():
    page = f"{trim.LISTED}\n<ul><li>a</li>\n<li>b</li>\n<ul><li>b.c</li>\n</ul><li>d</li>\n</ul>"
    assert trim.accessible(page) == (
        f"{trim.LISTED}\n<ul><li>a</li>\n<li>b\n<ul><li>b.c</li>\n</ul></li><li>d</li>\n</ul>"
    )
    other = "<ul><li>b</li>\n<ul><li>b.c</li>\n</ul></ul>"
    assert trim.accessible(other) == other
