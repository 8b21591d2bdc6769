"""One colour per expert, in every figure and every widget.

Kernel experts ("1³", "3³", "5³", "7³", and "1²" ...) have the first four colours, attention heads start with the fifth,
so that a kernel and a head of one small network never share a colour. `tests/viz/test_palette.py` simulates red, green
and blue blindness and holds the distances.
"""

import re

# Found by search: the smallest CIEDE2000 distance of any two is above 17 under normal vision and each of the three
# dichromacies. Small kernels are cool, large ones warm; of each, one light and one dark.
EXPERTS = ("#52d6ea", "#3952c5", "#e5ba86", "#715b00", "#b70b60", "#9080f4", "#939004", "#1d9794")

# Runs of a training in a report's charts: variables of report.css, which has a light and a dark value for each.
RUNS = ("var(--line-0)", "var(--line-1)", "var(--line-2)", "var(--line-3)")

KERNELS = ("1", "3", "5", "7")


def expert_index(name: str) -> int:
    """Place in `EXPERTS` of an expert with this name; the same name has the same place everywhere."""
    kernel = re.fullmatch(r"(\d+)[²³]", name)
    if kernel and kernel[1] in KERNELS:
        return KERNELS.index(kernel[1])
    number = re.search(r"(\d+)\D*$", name)
    return (len(KERNELS) + int(number[1] if number else 0)) % len(EXPERTS)


def expert_colours(names: tuple[str, ...] | list[str]) -> list[str]:
    """Colours `#rrggbb` of these experts, in order."""
    return [EXPERTS[expert_index(name)] for name in names]
