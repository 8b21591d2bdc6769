"""Chapter 00, the tour."""


def shift(answer: tuple[float, float]) -> tuple[bool, str]:
    """Which constant field (y, x) undoes a shift of the image by three rows downwards?"""
    rows, columns = (float(value) for value in answer)
    if (rows, columns) == (3, 0):
        return True, "The tissue of row y lies in row y + 3 of the moving image, and the field pulls it from there."
    if (rows, columns) == (-3, 0):
        return False, (
            "That would push. The field says where to *fetch* from: row y of the fixed image is found three rows "
            "further down in the moving one."
        )
    if rows == 0 and abs(columns) == 3:
        return (
            False,
            "Channel 0 moves along axis 0, the rows; channel 1 along the columns. There is no x-first order here.",
        )
    return False, "Ask for one voxel: in which row of the moving image is the tissue that you want at row y?"


def gates(answer: int, *, shape: tuple[int, ...], k: int) -> tuple[bool, str]:
    """How many gates of a layer are not zero on a grid of this shape?"""
    places = 1
    for size in shape:
        places *= size
    directions = len(shape)
    if answer == places * directions * k:
        return True, f"{places} voxels, {directions} directions, {k} experts each: sparse, and decided one by one."
    if answer == places * k:
        return (
            False,
            "Every direction has a router of its own: the two components of one voxel may use different experts.",
        )
    if answer == places * directions:
        return False, f"Top-k keeps k = {k} experts for each voxel and direction, not only the first."
    return False, "Count: voxels of the layer's grid, times directions, times experts kept by top-k."


def knockout(answer: str, *, errors: dict[str, float], complete: float) -> tuple[bool, str]:
    """Without which expert does the endpoint error grow most?"""
    worst = max(errors, key=errors.__getitem__)
    if answer not in errors:
        return False, f"Name one of {', '.join(errors)}."
    grown = errors[answer] - complete
    if answer == worst:
        return (
            True,
            f"Without it the error grows by {grown:.2f} voxels. That is what this expert is worth to the others.",
        )
    return False, (
        f"Without {answer} the error changes by {grown:.2f} voxels; for another expert it is more. Load is how often "
        "an expert is asked, not how much it is missed."
    )


EXERCISES = {
    "tour-shift": shift,
    "tour-gates": gates,
    "tour-knockout": knockout,
}
