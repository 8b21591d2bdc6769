"""What cells say, and which of them are the best."""

import pytest

from moereg.viz.tables import Table, cells_of

NAN = float("nan")


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in cells_of(table)]


def best(table: Table) -> list[tuple[int, int]]:
    return [(r, c) for r, row in enumerate(cells_of(table)) for c, cell in enumerate(row) if cell.best]


def test_cells_keep_the_order_of_rows_and_columns():
    table = Table("", ["Organ", "Before", "After"], [["liver", 0.5, 0.75], ["spleen", 0.25, 1.0]])
    assert texts(table) == [["liver", "0.500", "0.750"], ["spleen", "0.250", "1.000"]]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (NAN, "–"),
        (-0.25, "−0.2"),
        (0.25, "0.2"),
        (12345.678, "12,345.7"),
        (12345, "12,345"),  # a count has no decimals
        (-3, "−3"),
        (True, "True"),
        ("a-b", "a-b"),  # a hyphen is no minus
        ("", ""),
    ],
)
def test_a_value_is_shown_as(value, shown):
    assert texts(Table("", ["a", "b"], [["row", value]], digits=1)) == [["row", shown]]


def test_digits_belong_to_columns():
    assert texts(Table("", ["a", "b", "c"], [[1.0, 2.0, 3.0]], digits=[0, 1, 2])) == [["1", "2.0", "3.00"]]
    assert texts(Table("", ["a", "b"], [[1.0, 2.0]])) == [["1.000", "2.000"]]


ROWS = [["a", 0.2, 3.0], ["b", 0.9, 2.0], ["c", 0.9, None]]


@pytest.mark.parametrize(
    ("asked", "places"),
    [
        ({}, []),
        ({"of": {"dice": "max"}}, [(1, 1), (2, 1)]),  # equal numbers share the mark
        ({"of": {"dice": "min"}}, [(0, 1)]),
        ({"of": {"error": "min"}}, [(1, 2)]),
        ({"of": {"dice": "max", "error": "max"}}, [(0, 2), (1, 1), (2, 1)]),
        ({"by": "column", "of": {"error": "max"}}, [(0, 2)]),
        ({"by": "row", "of": {"a": "max"}}, [(0, 2)]),
        ({"by": "row", "of": {"a": "min", "b": "min"}}, [(0, 1), (1, 1)]),
        ({"by": "row", "of": {"c": "max"}}, []),  # one number alone
        ({"of": {"method": "max"}}, []),  # the first column holds names
        ({"of": {"not there": "max"}}, []),
    ],
)
def test_best_numbers(asked, places):
    assert best(Table("", ["method", "dice", "error"], ROWS, best=asked)) == places


def test_nan_and_text_are_never_best():
    rows = [["a", NAN, 3], ["b", 0.5, 2], ["c", 0.4, "none"]]
    assert best(Table("", ["m", "x", "y"], rows, best={"of": {"x": "max", "y": "min"}})) == [(1, 1), (1, 2)]


def test_numbers_in_the_first_column_are_names_too():
    table = Table("", ["level", "x"], [[9, 1.0], [1, 2.0]], best={"of": {"level": "max", "x": "max"}})
    assert best(table) == [(1, 1)]
    assert best(Table("", ["level", "x", "y"], [[9, 1.0, 2.0]], best={"by": "row", "of": {"9": "max"}})) == [(0, 2)]
