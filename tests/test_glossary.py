"""The glossary: terms are there once, first uses are linked, code and formulas are left alone."""

import nbformat
import pytest

from book import glossary as tool

ROOT = tool.TERMS.parent.parent
TERMS = [
    {"term": "gate", "also": ["gates"], "is": 'A weight, "small".', "chapter": "06_routers"},
    {"term": "attention", "is": "A mean.", "chapter": "05_attention"},
    {"term": "attention head", "is": "One attention.", "chapter": "05_attention"},
]


def linked(*sources):
    cells = [nbformat.v4.new_markdown_cell(source) for source in sources]
    notebook = nbformat.v4.new_notebook(cells=[*cells, nbformat.v4.new_code_cell("gate = attention")])
    tool.link_terms(notebook, TERMS)
    assert notebook.cells[-1].source == "gate = attention"
    return [cell.source for cell in notebook.cells[:-1]]


def link(term, text, title):
    return f'<a class="term" href="glossary.html#term-{term}" title="{title}">{text}</a>'


GATE = "A weight, &quot;small&quot;."


def test_first_uses_in_any_form_and_no_others():
    first, second = linked("Gates are weights; a gate is one.", "The gate, the *attention*.")
    assert first == f"{link('gate', 'Gates', GATE)} are weights; a gate is one."
    assert second == f"The gate, the *{link('attention', 'attention', 'A mean.')}*."


def test_the_longest_term_wins_also_over_the_end_of_a_line():
    (text,) = linked("One attention\nhead, then attention.")
    head = link("attention-head", "attention\nhead", "One attention.")
    assert text == f"One {head}, then {link('attention', 'attention', 'A mean.')}."


@pytest.mark.parametrize(
    "apart",
    [
        "## The gate",
        "`gate`",
        "$gate$",
        "$$\ngate\n$$",
        "[a gate](06_routers.ipynb)",
        "{cite}`gate`",
        '<img alt="gate">',
        "<summary>gate</summary>",
        "```python\ngate = 1\n```",
        "| gate | 1 |",
        "investigate the gate-keeper of gatesville",
    ],
)
def test_what_is_no_text_is_left_alone(apart):
    (text,) = linked(f"{apart}\n\nA gate.")
    assert text == f"{apart}\n\nA {link('gate', 'gate', GATE)}."


def test_the_page_is_in_order():
    text = tool.page(TERMS)
    assert text.index("**attention**") < text.index("**attention head**") < text.index("**gate** (gates)")
    assert "(term-attention-head)=\n**attention head**\n: One attention. [Chapter](05_attention)\n" in text


def test_every_term_is_there_once_and_is_used_where_it_is_built():
    terms = tool.load()
    forms = [form.lower() for entry in terms for form in (entry["term"], *entry.get("also", ()))]
    assert sorted(set(forms)) == sorted(forms)
    anchors = [tool.anchor(entry["term"]) for entry in terms]
    assert len(set(anchors)) == len(anchors) >= 40
    for entry in terms:
        assert set(entry) <= {"term", "also", "is", "chapter"}
        assert entry["is"].endswith(".")
        text = (ROOT / "notebooks" / f"{entry['chapter']}.py").read_text(encoding="utf-8").lower().replace("\n# ", " ")
        assert any(form.lower() in text for form in (entry["term"], *entry.get("also", ()))), entry["term"]
