"""Pictures of every combination of a few controls."""

import base64
import io

import matplotlib.pyplot as plt
import pytest
import traitlets
from PIL import Image

from moereg.viz.stills import stills


def show(height, colour="red"):
    plt.figure(figsize=(1, 1), dpi=20)
    plt.gca().axis("off")
    plt.gcf().set_facecolor(colour)
    print(f"{height} {colour}")


def colour_of(frame: dict) -> tuple:
    content = base64.b64decode(frame["source"].removeprefix("data:image/webp;base64,"))
    return Image.open(io.BytesIO(content)).getpixel((2, 2))


def test_there_is_a_picture_for_every_combination_last_control_fastest():
    before = plt.get_fignums()
    view = stills(show, alt="A square.", height=[1.0, 2.5], colour=["red", "blue"])
    assert [frame["text"] for frame in view.frames] == ["1.0 red", "1.0 blue", "2.5 red", "2.5 blue"]
    red, blue = colour_of(view.frames[2]), colour_of(view.frames[3])
    assert red[0] > 200 > red[2]
    assert blue[2] > 200 > blue[0]
    assert view.controls == [
        {"label": "height", "values": ["1", "2.5"]},
        {"label": "colour", "values": ["red", "blue"]},
    ]
    assert plt.get_fignums() == before


def test_a_wide_picture_is_made_as_wide_as_a_page():
    def wide(n):
        plt.figure(figsize=(12, 1), dpi=100)

    content = base64.b64decode(stills(wide, alt="", n=[1]).frames[0]["source"].split(",")[1])
    assert Image.open(io.BytesIO(content)).size == (900, 75)


def test_it_begins_where_it_is_told_to():
    view = stills(show, alt="A square.", start={"colour": "blue"}, height=[1, 2], colour=["red", "blue"])
    assert view.frame == 1
    data, metadata = view._repr_mimebundle_()
    pixel = Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).getpixel((2, 2))
    assert pixel[2] > 200 > pixel[0]
    assert metadata["image/png"] == {"alt": "A square."}


def test_a_function_may_print_only():
    view = stills(lambda n: print(n * n), alt="", n=[2, 3])
    assert view.frames == [{"source": "", "text": "4"}, {"source": "", "text": "9"}]
    assert "image/png" not in view._repr_mimebundle_()[0]


def test_underscores_of_a_name_are_spaces():
    assert stills(lambda in_words: None, alt="", in_words=["a"]).controls[0]["label"] == "in words"


@pytest.mark.parametrize(
    ("controls", "start", "message"),
    [
        ({}, None, "controls must have values each"),
        ({"n": []}, None, "controls must have values each"),
        ({"n": range(61)}, None, "at most 60 combinations, got 61"),
        ({"n": [1, 2]}, {"n": 3}, r"start must hold one of \[1, 2\] for n, got 3"),
    ],
)
def test_bad_controls_are_one_sentence(controls, start, message):
    with pytest.raises(ValueError, match=message):
        stills(lambda n: None, alt="", start=start, **controls)


def test_a_frame_is_one_of_those_that_there_are():
    view = stills(lambda n: print(n), alt="", n=[1, 2])
    with pytest.raises(traitlets.TraitError, match="frame must be 0 to 1, got 2"):
        view.frame = 2
