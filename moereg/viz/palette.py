"""Every colour of the figures, by meaning. No other module of `moereg.viz` holds a colour; a test looks.

One colour per expert, in every figure and every widget. Kernel experts ("1³", "3³", "5³", "7³", and "1²" ...) have the
first four colours, attention heads start with the fifth, so that a kernel and a head of one small network never share a
colour. `tests/viz/test_palette.py` simulates red, green and blue blindness and holds the distances. The widgets' own
surfaces (light and dark) are variables of their style sheets.
"""

import re
from collections.abc import Sequence

# Found by search: the smallest CIEDE2000 distance of any two is above 17 under normal vision and each of the three
# dichromacies. Small kernels are cool, large ones warm; of each, one light and one dark.
EXPERTS = ("#52d6ea", "#3952c5", "#e5ba86", "#715b00", "#b70b60", "#9080f4", "#939004", "#1d9794")

KERNELS = ("1", "3", "5", "7")

# On grey images.
MOTION = "#e8a53a"  # grids, arrows
CHOSEN = "#e8a53a"  # the voxel that is asked about, and where its tissue is
FOLDED = "#d5008f"  # voxels whose Jacobian determinant is not above zero
PATCH_EDGE = "#00000073"  # around a patch of a legend, for light experts on white paper

# In charts of experiments.
MEASURED = "#3b6fb6"  # what the question is about
OTHER = "#c2562b"  # a second one, as good
CONTROL = "#8a8f98"  # what it is compared with
SECOND_CONTROL = "#d9dce1"
REFERENCE = "black"  # zero, chance, before; means of dots
BETWEEN = "white"  # between the parts of a bar
ON_DARK = "white"  # a place marked on a dark map

# Runs of a training in a report's charts: variables of report.css, which has a light and a dark value for each.
RUNS = ("var(--line-0)", "var(--line-1)", "var(--line-2)", "var(--line-3)")


def expert_index(name: str) -> int:
    """Place in `EXPERTS` of an expert with this name; the same name has the same place everywhere."""
    kernel = re.fullmatch(r"(\d+)[²³]", name)
    if kernel and kernel[1] in KERNELS:
        return KERNELS.index(kernel[1])
    number = re.search(r"(\d+)\D*$", name)
    return (len(KERNELS) + int(number[1] if number else 0)) % len(EXPERTS)


def expert_colours(names: Sequence[str]) -> list[str]:
    """Colours `#rrggbb` of these experts, in order."""
    return [EXPERTS[expert_index(name)] for name in names]
