"""The ledger of claims: every status is what its evidence says, and a status that is not is noticed."""

import json
import re

import pytest

from tools import claims as tool

LEDGER = tool.load()
BIBLIOGRAPHY = (tool.ROOT / "book" / "references.bib").read_text(encoding="utf-8")
REVERSED = {True: "does not hold here", False: "holds here", None: "holds here"}


def test_the_ledger_agrees_with_the_evidence():
    assert tool.complaints(LEDGER) == []
    assert len(LEDGER) >= 24
    assert {row["system"] for row in LEDGER} >= {"SHMoAReg", "DrivenMorph", "RMAn", "SegReg"}


def test_a_claim_that_does_not_hold_says_what_was_tried_and_an_open_one_says_why():
    for row in LEDGER:
        if row["status"] in tool.FAILS:
            assert row.get("note"), row["id"]
        if row["status"] in tool.OPEN:
            assert row["evidence"]["none"], row["id"]


@pytest.mark.parametrize("row", LEDGER, ids=[row["id"] for row in LEDGER])
def test_another_status_is_noticed_and_every_reference_is_there(row):
    forged = row | {"status": REVERSED[tool.outcome(row).holds]}
    (complaint,) = tool.complaints([forged])
    assert complaint.startswith(f"{row['id']}: the evidence says ")
    assert complaint.endswith(f"not {forged['status']!r}")
    assert row["source"] == "course" or f"{{{row['source']},\n" in BIBLIOGRAPHY
    chapter = row.get("chapter", "networks")
    assert chapter == "networks" or (tool.ROOT / "notebooks" / f"{chapter}.py").exists()


def row(evidence, status="holds here", **more):
    return {"id": "x", "system": "S", "source": "course", "statement": "It is so.", "status": status} | more | {
        "evidence": evidence
    }  # fmt: skip


def test_a_row_is_complete_known_and_there_once():
    good = row({"none": "Why."}, "not tried yet")
    assert tool.complaints([good]) == []
    assert tool.complaints([good, good]) == ["x: stands there twice"]
    assert tool.complaints([good | {"typo": 1}]) == ["x: typo is not known"]
    assert tool.complaints([{"id": "x"}])[0] == "x: system is missing"
    with pytest.raises(ValueError, match="evidence must hold one of compare, card, .* got nothing"):
        tool.outcome(row({"nothing": 1}))


@pytest.fixture
def root(tmp_path):
    """Records by hand: b is one above a in three seeds (one of them diverged), and on a line with quality."""
    experiments, weights = tmp_path / "data" / "experiments", tmp_path / "data" / "weights"
    for folder in (experiments, weights, tmp_path / "notebooks"):
        folder.mkdir(parents=True)
    rows = [
        {"v": v, "seed": seed, "dice": base + 0.1 * seed} for v, base in (("a", 0.1), ("b", 0.2)) for seed in range(3)
    ]
    rows.append({"v": "b", "seed": 3, "dice": -9.0, "diverged": True})
    (experiments / "one.json").write_text(json.dumps({"rows": rows}))
    points = [
        {
            "way": way,
            "amount": q,
            "seed": 0,
            "quality": q,
            "dice": d,
            "epe": 0,
            "seam_fold_fraction": 0,
            "other_fold_fraction": 0,
        }
        for way, values in (("straight", (1, 2, 3)), ("bent", (1, 9, 2)))
        for q, d in zip((1, 2, 3), values, strict=True)
    ]
    (experiments / "two.json").write_text(json.dumps({"findings": [{"rows": rows}, {"rows": points}]}))
    methods = {
        name: {"pairs": [{"pair": f"{place}", "dice_mean": d, "epe": d} for place, d in enumerate(dices)]}
        for name, dices in (("net", (0.8, 0.9, 1.0)), ("demons", (0.7, 0.8, 0.85)), ("rival", (0.6, 0.6, 0.9)))
    }
    elsewhere = {"elsewhere": {"pairs": methods["rival"]["pairs"][1:]}}
    for name, own in {"net": methods, "rival": methods, "elsewhere": elsewhere}.items():
        (weights / f"{name}.json").write_text(json.dumps({"methods": own}))
    (tmp_path / "notebooks" / "01_x.py").write_text('# %%\n# a title\n\n# %%\nassert 1 + 1 == 2, "sums are right"\n')
    (tmp_path / "test_it.py").write_text("def test_sums():\n    pass\n")
    return tmp_path


def test_networks_of_two_cards_are_compared_on_the_same_pairs_alone(root):
    given = {"card": "net", "rival": "elsewhere", "measure": "dice", "expect": "higher"}
    with pytest.raises(ValueError, match="net and elsewhere were measured on different pairs"):
        tool.outcome(row(given), root)


@pytest.mark.parametrize(
    ("evidence", "holds", "text"),
    [
        ({"compare": "one", "first": {"v": "b"}, "second": {"v": "a"}, "measure": "dice", "expect": "higher"}, True,
         "dice +0.100 [+0.100, +0.100], 3 seeds"),
        ({"compare": "one", "first": {"v": "b"}, "second": {"v": "a"}, "measure": "dice", "expect": "lower"}, False,
         "dice +0.100"),
        ({"compare": "one", "first": {"v": "a"}, "second": {"v": "b"}, "measure": "dice", "expect": "not higher"}, True,
         "dice -0.100"),
        ({"card": "net", "against": "demons", "measure": "dice", "expect": "higher"}, True, "1 seed, 3 pairs"),
        ({"card": "net", "against": "demons", "measure": "epe", "expect": "lower"}, False, "epe +0.117"),
        ({"card": "net", "rival": "rival", "measure": "dice", "expect": "higher"}, False, "dice +0.200"),
        ({"card": "net", "rival": "rival", "against": "demons", "measure": "dice", "expect": "lower"}, False, "+0.117"),
        ({"line": "two", "finding": 1, "way": "straight", "at_least": 0.9}, True, "R² 1.000"),
        ({"line": "two", "finding": 1, "way": "bent", "at_least": 0.9}, False, "R² 0.0"),
        ({"mean": "one", "rows": {"v": "b"}, "measure": "dice", "at_least": 0.3}, True, "dice 0.3000, mean of 3"),
        ({"mean": "one", "rows": {"v": "b"}, "measure": "dice", "at_least": 0.31}, False, "dice 0.3000"),
        ({"mean": "one", "rows": {"v": "a"}, "measure": "dice", "at_most": 0.21}, True, "dice 0.2000, mean of 3"),
        ({"mean": "one", "rows": {"v": "a"}, "measure": "dice", "at_most": 0.1}, False, "dice 0.2000"),
        ({"test": "test_it.py::test_sums"}, True, "a test: sums"),
        ({"test": "test_it.py::test_products"}, False, "a test: products"),
        ({"cell": "01_x", "asserts": "sums are right"}, True, "asserted in cell 2"),
        ({"cell": "01_x", "asserts": "a title"}, False, "no cell asserts it"),
        ({"none": "No data."}, None, "No data."),
    ],
)  # fmt: skip
def test_evidence_by_hand(root, evidence, holds, text):
    found = tool.outcome(row(evidence), root)
    assert found.holds is holds
    assert text in found.text
    fitting = {True: tool.HOLDS, False: tool.FAILS, None: tool.OPEN}[holds]
    for status in (*tool.HOLDS, *tool.FAILS, *tool.OPEN):
        assert (tool.complaints([row(evidence, status)], root) == []) == (status in fitting)


def test_the_page_says_it_all(root):
    evidence = {"compare": "one", "first": {"v": "b"}, "second": {"v": "a"}, "measure": "dice", "expect": "higher"}
    rows = [
        row(evidence, source="shmoareg", theirs="Dice 60 %", note="A note.", chapter="01_x"),
        row({"none": "No data."}, "not tried yet", id="y", system="T", chapter="networks"),
    ]
    text = tool.page(rows, root)
    assert "2 claims: 1 holds here, 1 not tried yet.\n" in text
    first, second = text.split("## S\n")[1].split("## T\n")
    assert "(claim-x)=\n**It is so.** {cite}`shmoareg` *The source:* Dice 60 %.\n: *holds here.* <svg" in first
    assert "</svg> dice +0.100 [+0.100, +0.100], 3 seeds. A note. [Chapter](01_x)\n" in first
    assert second.strip() == "(claim-y)=\n**It is so.**\n: *not tried yet.* No data. [Networks](networks)"


def test_an_interval_is_drawn_to_scale():
    drawn = tool.interval(tool.Effect(0.25, -0.5, 1.0, 3, 1))
    line = re.search(r'x1="(\S+)" y1="7" x2="(\S+)"', drawn)
    assert [float(x) for x in line.groups()] == [60 - 27, 60 + 54]
    assert 'cx="73.5"' in drawn
    assert 'aria-label="+0.250 [-0.500, +1.000]"' in drawn
    assert (
        tool.interval(tool.Effect(0.0, 0.0, 0.0, 3, 1)) == tool.interval(tool.Effect(1, -1, float("inf"), 1, 1)) == ""
    )


def test_the_command_prints_and_fails(monkeypatch, capsys):
    monkeypatch.setattr(tool, "load", lambda: [row({"none": "No data."}, "not tried yet")])
    assert tool.main() == 0
    assert capsys.readouterr().out == "x: not tried yet; No data.\n1 claims, every status as its evidence says\n"
    monkeypatch.setattr(tool, "load", lambda: [row({"none": "No data."})])
    assert tool.main() == 1
    assert "x: the evidence says cannot be tried here or not tried yet" in capsys.readouterr().out
