"""Right answers pass, known mistakes are explained, nothing is judged before it is answered."""

import pytest

from moereg.course.exercises import EXERCISES, check
from moereg.course.exercises.functions import Task

ROWS = [
    {"change": "complete", "what": "", "epe_change": 0.0},
    {"change": "random gates", "what": "y", "epe_change": 0.4},
    {"change": "random gates", "what": "x", "epe_change": 0.1},
]
RECURSIONS = [
    {"attention": kind, "trained": 1, "recursions": k, "dice": dice}
    for kind, values in (("mutual", (0.50, 0.53, 0.52)), ("self", (0.6, 0.1, 0.1)))
    for k, dice in enumerate(values, start=1)
]
DRIVING = [
    {"level": level, "round": 1, "control": control, "angle": angle + 5 * level}
    for level in (0, 1)
    for control, angle in (("own", 20.0), ("other pair", 80.0), ("untrained", 50.0))
]
GROWTH = [
    {"way": "grown or shrunk", "amount": amount, "dice": dice}
    for amount, dice in ((-3.0, 0.6), (0.0, 0.9), (3.0, 0.85))
]
# what the notebook measured, the right answer, wrong answers with a word of their explanation
CASES = {
    "tour-shift": ({}, (3, 0), {(-3, 0): "fetch", (0, 3): "Channel 0", (1, 1): "Ask for one voxel"}),
    "tour-gates": ({"shape": (40, 30), "k": 2}, 4800, {2400: "router of its own", 1200: "Count", 7: "Count"}),
    "fields-pull": ({"row": 30, "step": 4}, 26, {34: "pushing", 30: "looks elsewhere", 4: "Solve"}),
    "fields-fold": ({"sigma": 6.0}, 9.89, {6: "m / sigma", 3.64: "Upside down", 12: "steepest"}),
    "fields-inverse": ({}, -10, {-15: "-u(30)", 20: "where 30 goes", 10: "Find the y"}),
    "similarity-noise": (
        {"window": 5, "dims": 3},
        -1 / 124,
        {0: "by chance", 0.04: "It is a loss", -1 / 24: "the cube hold", -1: "125 voxels"},
    ),
    "similarity-regulariser": ({}, "bending", {"diffusion": "du/dx", "both": "du/dx", "none": "Answer"}),
    "similarity-aperture": (
        {"move": (2.0, 5.0), "normal": (0.6, 0.8)},
        (3.12, 4.16),
        {(2, 5): "whole motion", (-1.12, 0.84): "cannot be seen", (1.2, 4): "axis by axis", (5.2, 0): "Project"},
    ),
    "demons-ceiling": (
        {"sigma": 2.0, "wavelength": 12, "step": 0.5},
        0.70513,
        {1.41026: "units of L", 1.20513: "begins with H", 0.29255: "first iteration", 5: "in radians"},
    ),
    "demons-half": (
        {"difference": 0.3, "step": 1.0},
        0.559808,
        {0.0401924: "on its way up", 0.15: "it is longest", 0.3: "does not halve", 0.6: "optical flow", 9: "quadratic"},
    ),
    "demons-spacing": ({}, 1, {2: "in millimetres", 0.5: "longer", 4: "Put J"}),
    "learning-pays": (
        {"training": 10.0, "network": 0.01, "search": 0.21},
        50,
        {1000: "passes", 40: "make up for", 60: "make up for"},
    ),
    "learning-first-step": ({}, "last", {"all": "chain rule", "none": "slope", "first": "Answer"}),
    "learning-visits": (
        {"pairs": 16, "steps": 1000, "more": 200},
        12500,
        {1000: "less often", 80: "Upside down", 200000: "every step either", 5: "Visits of one pair"},
    ),
    "comparison-steps": (
        {"ours": 0.2, "theirs": 0.5, "count": 300},
        120,
        {750: "other way round", 300: "equal steps", 1: "Seconds of all our steps"},
    ),
    "comparison-edge": (
        {"edge": 64, "gigabytes": 1.0, "room": 8.0},
        128,
        {512: "third root", 181: "square root", 64: "By what factor"},
    ),
    "scans-volume": (
        {"rows": [[0.0, -2.0, 0.0], [1.5, 0.0, 0.0], [0.0, 0.0, 3.0]]},
        9,
        {-9: "left-handed", 0: "diagonal alone", 6.5: "multiply them", 7: "What do they span"},
    ),
    "scans-labels": ({}, "nearest", {"linear": "Which organ", "cubic": "Answer"}),
    "attention-windows": (
        {"shape": (48, 48, 48), "window": 6},
        512,
        {8: "along one axis", 216: "has left", 2: "one token"},
    ),
    "attention-shared-keys": (
        {"heads": 4, "channels": 8, "head_dim": 2},
        96,
        {48: "two such matrices", 128: "still needed", 1: "Count the entries"},
    ),
    "routers-collapse": ({}, 1.0, {4: "still uniform", 0.25: "factor N", 0: "N times"}),
    "routers-gradient": (
        {},
        ("chosen experts", "chosen rows", "other rows"),
        {
            ("chosen experts", "other experts", "chosen rows", "other rows"): "weights",
            ("chosen experts", "chosen rows"): "every logit",
            ("other rows",): "Choose among",
        },
    ),
    "moa-saved": ({"heads": 8, "k": 2}, 4, {0.25: "share that is left", 3: "Count"}),
    "moa-permute": ({}, ("query", "output"), {("query", "key"): "nothing in them", ("query",): "own"}),
    "shmoe-cost": ({}, 6.05, {1.6: "one dimension", 12.7: "one link", 3: "Add k^3"}),
    "shmoe-extent": ({}, 11, {15: "do not add", 243: "strides", 7: "three links", 5: "How far"}),
    "shmoe-voxel": (
        {"gates": [0.5, 0.0, 0.5], "proposals": [1.0, 9.0, 3.0]},
        2.0,
        {13.0: "as much as", 4.0: "Multiply"},
    ),
    "shmoareg-compose": ({}, 2.1, {2.0: "warped", 1.0: "compose"}),
    "shmoareg-control": ({}, "other", {"shuffled": "not smooth", "none": "Answer"}),
    "shmoareg-missed": ({"rows": ROWS}, "y", {"x": "elsewhere more", "z": "Name one"}),
    "drivenmorph-longest": ({}, 1, {1000: "cancels", 0: "Put J"}),
    "drivenmorph-stream": ({}, "difference", {"deformation": "never sees", "both": "Answer"}),
    "drivenmorph-control": ({"rows": DRIVING}, "untrained", {"other pair": "smaller angle", "own": "Answer"}),
    "rman-compose": ({}, 5, {2: "read *there*", 3: "counts as well", 7: "phi_2[x]"}),
    "rman-memory": (
        {"shape": (96, 96, 96), "window": 8, "stride": 8},
        1728 * 216,
        {1728**2: "every token", 1728 * 512: "as even", 1728: "Those are", 5: "Tokens along"},
    ),
    "rman-recursions": ({"rows": RECURSIONS}, 2, {1: "0.500", 3: "0.520", 9: "One of 1, 2, 3"}),
    "segreg-cost": ({"labels": 12, "pairs": 2}, 52, {48: "background", 26: "directions", 12: "Regions times"}),
    "segreg-systematic": ({"rows": GROWTH}, "shrunk", {"grown": "0.300 for shrunk", "both": "Answer"}),
}


def test_every_exercise_has_a_case():
    assert set(CASES) == {name for name, exercise in EXERCISES.items() if not isinstance(exercise, Task)}


@pytest.mark.parametrize("name", CASES)
def test_answers(name):
    given, right, wrong = CASES[name]
    assert check(name, **given).right is None
    assert check(name, right, **given).right is True
    for answer, words in wrong.items():
        assert words, "every text holds the empty word"
        verdict = check(name, answer, **given)
        assert verdict.right is False
        assert words in verdict.text
        assert verdict.text != check(name, right, **given).text


def test_gates_distinguish_the_two_usual_mistakes():
    texts = {check("tour-gates", answer, shape=(10, 10), k=3).text for answer in (300, 200, 5)}
    assert len(texts) == 3


def test_unknown_exercise():
    with pytest.raises(ValueError, match="exercise must be one of tour-shift, .* got 'nope'"):
        check("nope")


def test_markdown_says_the_state():
    assert check("tour-shift")._repr_markdown_().startswith("*Waiting.*")
    assert check("tour-shift", (3, 0))._repr_markdown_().startswith("**Right.**")


NUMBERS = [(name, *case) for name, case in CASES.items() if EXERCISES[name].__annotations__["answer"] is float]


@pytest.mark.parametrize(("name", "given", "right", "wrong"), NUMBERS, ids=[case[0] for case in NUMBERS])
def test_an_answer_a_third_off_is_neither_right_nor_that_mistake(name, given, right, wrong):
    """Tolerances are for rounding: what is judged is one number, not its neighbourhood."""
    anything = {check(name, far, **given).text for far in (1e7, -1e7)}
    for answer in (right, *(value for value in wrong if isinstance(value, int | float))):
        text = check(name, answer, **given).text
        off = 0.35 * max(abs(answer), 1)
        for other in (answer + off, answer - off):
            verdict = check(name, other, **given)
            assert not verdict.right, other
            assert text in anything or verdict.text != text, other


@pytest.mark.parametrize(("name", "given", "right", "wrong"), NUMBERS, ids=[case[0] for case in NUMBERS])
def test_rounding_is_forgiven(name, given, right, wrong):
    """What a computation in float32 gives instead of the number is judged as the number; counts are whole."""
    for answer in (right, *wrong):
        if name in ("fields-pull", "attention-windows"):
            assert check(name, float(answer), **given) == check(name, answer, **given)
            continue
        off = min(2e-7 * abs(answer), 5e-7) or 3e-10
        for other in (answer + off, answer - off):
            assert check(name, other, **given) == check(name, answer, **given), other
