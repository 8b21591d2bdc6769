"""What `evaluate` measured, as a table for the terminal: a row per label and measure, a column per method."""

# title, key in the evaluation's table, factor
TABLE_ROWS = (
    ("Dice, mean", "dice", 1),
    ("endpoint error, voxels", "epe", 1),
    ("Hausdorff distance 95 %, mm", "hd95", 1),
    ("surface distance, mm", "asd", 1),
    ("folded voxels, %", "fold_fraction", 100),
    ("sd of log Jacobian", "sd_log_jacobian", 1),
    ("seconds per pair", "seconds_per_pair", 1),
)


def text_table(methods: dict[str, dict], titles: dict[str, str] | None = None) -> str:
    """The table; what is not known is a dash.

    Args:
        methods: as `evaluate` returns them. The labels are those of the first.
        titles: of the columns, where they are not the methods' own names.
    """
    columns = [(titles or {}).get(name, name) for name in methods]
    rows = [("", columns)]
    measured = list(methods.values())
    for label in measured[0]["dice_per_label"]:
        rows.append((f"Dice {label}", [_number(values["dice_per_label"].get(label)) for values in measured]))
    rows += [(title, [_number(values[key], factor) for values in measured]) for title, key, factor in TABLE_ROWS]
    widths = [max(len(cells[column]) for _, cells in rows) + 2 for column in range(len(columns))]
    return "\n".join(
        f"{title:30}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        for title, cells in rows
    )


def _number(value: float | None, factor: float = 1) -> str:
    return "-" if value is None else f"{factor * value:.3f}"
