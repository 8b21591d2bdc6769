"""Slides: what a room sees, what the speaker reads, and that an answer comes after its question."""

import shutil

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools import slides
from tools.slides import NOTEBOOKS, headline, height, page, slides_of

PIXEL = "iVBORw0KGgo="


def picture(**metadata):
    return new_code_cell("draw()", outputs=[new_output("display_data", {"image/png": PIXEL})], metadata=metadata)


def deck_of(*cells):
    return slides_of(new_notebook(cells=list(cells)))


def test_headings_part_a_deck_and_paragraphs_leave_their_first_sentence():
    deck = deck_of(
        new_markdown_cell("# A chapter\n\nFirst. Second, with *more*."),
        new_code_cell("import torch\nfrom moereg import fields\n\nplt.rcParams[0] = 1"),
        new_markdown_cell("## A part\n\n- one\n- two\n\n$$x^2 < 1$$"),
    )
    assert [(slide.title, slide.level) for slide in deck] == [("A chapter", 1), ("A part", 2)]
    assert deck[0].pieces == ["<p>First.</p>\n"]
    assert deck[0].notes == ["<p>First. Second, with <em>more</em>.</p>\n"]
    assert "<li>one</li>" in deck[1].pieces[0]
    assert r"\[x^2 &lt; 1\]" in deck[1].pieces[1]


@pytest.mark.parametrize(
    ("paragraph", "kept"),
    [
        ("One. Two.", "One."),
        ("Of 2.5 voxels one is left. Two.", "Of 2.5 voxels one is left."),
        ("One. Two. **Which of the two comes first here?** Three.", "One. **Which of the two comes first here?**"),
        ("**All of it. Is it one question?** Rest.", "**All of it. Is it one question?**"),
        ("**1.** Write it. Then read it.", "**1.** Write it. Then read it."),
        ("**Exercise 2.** Write it. Read it.", "**Exercise 2.** Write it. Read it."),
        ("no end", "no end"),
    ],
)
def test_what_is_kept_of_a_paragraph(paragraph, kept):
    assert headline(paragraph) == kept


def test_an_answer_comes_on_a_slide_of_its_own_after_the_question():
    deck = deck_of(
        new_markdown_cell("## Shifts\n\n**Up or down, what do you expect to see?**"),
        picture(tags=["hide-output"], mystnb={"image": {"alt": 'a "grid"'}}),
        new_markdown_cell("<details><summary>What you should have seen</summary>\n\nUp. It pulls.\n\n</details>"),
        new_markdown_cell("Next. More."),
    )
    assert [slide.title for slide in deck] == ["Shifts", slides.TITLE, "Shifts"]
    assert "Up or down" in deck[0].pieces[0]
    assert not any("<img" in piece for piece in deck[0].pieces)
    assert 'alt="a &quot;grid&quot;"' in deck[1].pieces[0]
    assert deck[1].pieces[1] == "<p>Up. It pulls.</p>\n"
    assert deck[2].pieces == ["<p>Next.</p>\n"]


def test_solutions_stay_away():
    deck = deck_of(
        new_markdown_cell("## Exercises\n\n**1.** Write it."),
        new_code_cell("def secret(): return 42", metadata={"tags": ["solution"]}),
        new_code_cell('check("name", secret)', outputs=[new_output("stream", text="Right.")]),
    )
    assert len(deck) == 1
    assert "secret" not in page("A", deck)
    assert "Right" not in page("A", deck)


def test_a_slide_that_is_full_is_followed_by_another_of_the_same_section():
    long = "\n".join(f"step {i}" for i in range(9))
    cells = [new_code_cell(long, outputs=[new_output("stream", text=long)]) for _ in range(2)]
    deck = deck_of(new_markdown_cell("## Code"), *cells, picture(), picture())
    assert [len(slide.pieces) for slide in deck] == [2, 2, 1, 1]
    assert {slide.title for slide in deck} == {"Code"}
    assert all(slide.height <= slides.FULL for slide in deck)
    assert [sum("<img" in piece for piece in slide.pieces) for slide in deck] == [0, 0, 1, 1]


def test_code_that_no_room_can_read_is_left_out_and_long_prints_are_cut():
    code = "\n".join(f"line_{i}" for i in range(30))
    deck = deck_of(new_markdown_cell("## Code"), new_code_cell(code, outputs=[new_output("stream", text=code)]))
    [[piece]] = [slide.pieces for slide in deck]
    assert piece.count("\n") == slides.LINES - 1
    assert piece.endswith("...</pre>")


def test_a_table_that_is_too_long_shrinks():
    table = "\n".join(["| a |", "| --- |", *["| 1 |"] * 19])
    [slide] = deck_of(new_markdown_cell(f"## Table\n\n{table}"))
    assert slide.scale == round(100 * slides.FULL / 20)
    assert f'style="font-size: {slide.scale}%"' in page("A", [slide])
    assert "style=" not in page("A", deck_of(new_markdown_cell("## A\n\nB."))).split("<body>")[1]


def test_heights_grow_with_what_is_on_a_slide():
    assert height("<p>" + "x" * 140 + "</p>") == pytest.approx(2.7)
    assert height("<pre>a\nb</pre>") == pytest.approx(0.65 * 3)
    assert height("<table><tr><td>a</td></tr><tr></tr></table>") == 2
    assert height("<li>" + "x" * 70 + "</li>") == pytest.approx(1.5)


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_chapter_has_a_deck(path):
    deck = slides_of(nbformat.read(path, as_version=4))
    assert deck[0].level == 1
    assert 10 <= len(deck) <= 90
    assert all(slide.scale >= 34 for slide in deck)


def test_a_deck_is_written_with_all_that_it_needs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(slides, "vendor", lambda out: None)
    slides.main(["00_tour", "--no-pdf", "--out", str(tmp_path)])
    text = (tmp_path / "00_tour.html").read_text()
    assert text.count("<section") == int(capsys.readouterr().out.split(": ")[1].split()[0])
    assert "http" not in text.replace("http://www.w3.org", "")
    for _, (name, _) in ((k, v) for files in slides.FROM_NPM.values() for k, v in files.items()):
        assert f'"vendor/{name}"' in text


def test_without_chromium_there_is_no_pdf(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert slides.print_pdf(tmp_path / "a.html") is None
