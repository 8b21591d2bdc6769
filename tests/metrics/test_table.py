"""The table of figures: what stands in which row and column."""

from moereg.metrics import text_table


def figures(offset):
    """A method whose every figure is its own number."""
    names = ("dice", "epe", "hd95", "asd", "fold_fraction", "sd_log_jacobian", "seconds_per_pair")
    values = {name: offset + place / 10 for place, name in enumerate(names)}
    return values | {"dice_per_label": {"liver": offset + 0.75, "spleen": offset + 0.85}}


def test_rows_and_columns_by_hand():
    second = figures(1.0) | {"epe": None, "dice_per_label": {"spleen": 0.5}}
    lines = text_table({"a": figures(0.0), "b": second}, {"b": "Second one"}).splitlines()
    assert lines[0] == " " * 30 + "       a" + "  Second one"  # 40.000 is the widest cell of the first column
    assert {line[:30].strip(): line[30:].split() for line in lines[1:]} == {
        "Dice liver": ["0.750", "-"],
        "Dice spleen": ["0.850", "0.500"],
        "Dice, mean": ["0.000", "1.000"],
        "endpoint error, voxels": ["0.100", "-"],
        "Hausdorff distance 95 %, mm": ["0.200", "1.200"],
        "surface distance, mm": ["0.300", "1.300"],
        "folded voxels, %": ["40.000", "140.000"],
        "sd of log Jacobian": ["0.500", "1.500"],
        "seconds per pair": ["0.600", "1.600"],
    }
    assert [line[:5] for line in lines[1:4]] == ["Dice ", "Dice ", "Dice,"]
    assert len({len(line) for line in lines}) == 1


def test_without_titles_columns_bear_the_methods_names():
    assert text_table({"demons-log": figures(0.0)}).splitlines()[0].split() == ["demons-log"]
