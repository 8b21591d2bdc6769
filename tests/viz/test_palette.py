"""Experts' colours stay apart for everybody, and belong to names, not to layers."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

from moereg import viz
from moereg.viz import palette
from moereg.viz.palette import EXPERTS, expert_colours, expert_index

# Machado, Oliveira, Fernandes 2009, severity 1, on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]


def linear(colour: str) -> np.ndarray:
    values = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    x, y, z = np.array(TO_XYZ) @ np.clip(rgb, 0, 1) / [0.95047, 1, 1.08883]
    f = [np.cbrt(v) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (x, y, z)]
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def ciede2000(one: np.ndarray, two: np.ndarray) -> float:
    """Perceived colour distance; about 2 is just visible side by side, 10 is seen at a glance."""
    (l1, a1, b1), (l2, a2, b2) = one, two
    chroma = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    g = 0.5 * (1 - np.sqrt(chroma**7 / (chroma**7 + 25**7)))
    a1, a2 = (1 + g) * a1, (1 + g) * a2
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = np.degrees(np.arctan2(b1, a1)) % 360, np.degrees(np.arctan2(b2, a2)) % 360
    dh = (h2 - h1 + 180) % 360 - 180
    d_hue = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(dh / 2))
    lm, cm = (l1 + l2) / 2, (c1 + c2) / 2
    hm = (h1 + h2) / 2 if abs(h1 - h2) <= 180 else (h1 + h2 + (360 if h1 + h2 < 360 else -360)) / 2
    t = (
        1
        - 0.17 * np.cos(np.radians(hm - 30))
        + 0.24 * np.cos(np.radians(2 * hm))
        + 0.32 * np.cos(np.radians(3 * hm + 6))
        - 0.20 * np.cos(np.radians(4 * hm - 63))
    )
    sl = 1 + 0.015 * (lm - 50) ** 2 / np.sqrt(20 + (lm - 50) ** 2)
    sc, sh = 1 + 0.045 * cm, 1 + 0.015 * cm * t
    turn = np.sin(np.radians(60 * np.exp(-(((hm - 275) / 25) ** 2))))
    rt = -2 * np.sqrt(cm**7 / (cm**7 + 25**7)) * turn
    dl, dc, dh = (l2 - l1) / sl, (c2 - c1) / sc, d_hue / sh
    return float(np.sqrt(dl**2 + dc**2 + dh**2 + rt * dc * dh))


def test_ciede2000_agrees_with_published_pairs():
    # Sharma, Wu, Dalal 2005, rows 1, 7 and 25 of their test data.
    assert ciede2000(np.array([50, 2.6772, -79.7751]), np.array([50, 0, -82.7485])) == pytest.approx(2.0425, abs=1e-4)
    assert ciede2000(np.array([50, 0, 0]), np.array([50, -1, 2])) == pytest.approx(2.3669, abs=1e-4)
    assert ciede2000(np.array([60.2574, -34.0099, 36.2677]), np.array([60.4626, -34.1751, 39.4387])) == pytest.approx(
        1.2644, abs=1e-4
    )


@pytest.mark.parametrize("vision", VISION)
def test_any_two_experts_are_told_apart(vision):
    seen = [lab(np.array(VISION[vision]) @ linear(colour)) for colour in EXPERTS]
    closest = min(ciede2000(a, b) for a, b in itertools.combinations(seen, 2))
    assert closest > 17


def test_okabe_and_ito_would_be_closer():
    # The usual choice, as a yardstick: this is why another palette was looked for.
    okabe = ["#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#000000"]
    seen = [lab(np.array(VISION["deuteranopia"]) @ linear(colour)) for colour in okabe]
    assert min(ciede2000(a, b) for a, b in itertools.combinations(seen, 2)) < 13


def test_every_colour_stands_out_from_white_and_from_black():
    for colour in EXPERTS:
        luminance = linear(colour) @ np.array(TO_XYZ)[1]
        assert 1.05 / (luminance + 0.05) > 1.6
        assert (luminance + 0.05) / 0.05 > 3


def test_a_name_has_one_colour_everywhere():
    assert expert_colours(("1³", "3³")) == expert_colours(("1²", "3²")) == list(EXPERTS[:2])
    assert expert_colours(("3³",)) == [expert_colours(("1³", "3³"))[1]]
    kernels, heads = expert_colours(("1³", "3³", "5³", "7³")), expert_colours([f"head {i}" for i in range(4)])
    assert len({*kernels, *heads}) == 8
    assert len(set(expert_colours([f"head {i}" for i in range(8)]))) == 8


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("1³", 0), ("3²", 1), ("5³", 2), ("7²", 3),
        ("head 0", 4), ("head 3", 7), ("head 4", 0), ("head 12", 0),
        ("9³", 5), ("11³", 7), ("all", 4), ("13 wide", 1),
    ],
)  # fmt: skip
def test_a_name_has_its_place(name, place):
    """Kernels of the usual extents first; of all others the last number counts, from the fifth colour on."""
    assert expert_index(name) == place
    assert expert_colours([name]) == [EXPERTS[place]]


def test_no_other_module_holds_a_colour():
    """Hexadecimal colours, and names of colours as values of a keyword such as `color=`."""
    folder = Path(viz.__file__).parent
    written = re.compile(r"""["']#[0-9a-fA-F]{3,8}["']|\bcolou?rs?=["'][a-z]""")
    found = {
        path.name: written.findall(path.read_text())
        for path in folder.rglob("*.py")
        if path.name != "palette.py" and written.search(path.read_text())
    }
    assert found == {}
    assert written.search('color="black"')
    assert written.search("x = '#e8a53a'")


def test_colours_of_charts_are_told_apart():
    """What is measured, another, and the control, under every vision; chosen voxels stand out from any grey."""
    for matrix in VISION.values():
        seen = [lab(np.array(matrix) @ linear(c)) for c in (palette.MEASURED, palette.OTHER, palette.CONTROL)]
        assert min(ciede2000(a, b) for a, b in itertools.combinations(seen, 2)) > 15
        greys = [lab(np.array([level] * 3)) for level in np.linspace(0, 1, 11)]
        for colour in (palette.MOTION, palette.CHOSEN, palette.FOLDED):
            assert min(ciede2000(lab(np.array(matrix) @ linear(colour)), grey) for grey in greys) > 7
