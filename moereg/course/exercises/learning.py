"""Chapter 04, learning to register."""

import math


def pays(answer: float, *, training: float, network: float, search: float) -> tuple[bool, str]:
    """After how many pairs has training cost less than a search for each of them? All times in seconds."""
    right = training / (search - network)
    if right - 0.05 * right <= answer <= right + max(1.0, 0.05 * right):
        return (
            True,
            f"{training:.1f} s of training, {search - network:.3f} s saved by each pair: {math.ceil(right)} pairs.",
        )
    if network > 0 and math.isclose(answer, training / network, rel_tol=0.05):
        return False, "That many passes take as long as the training. Count what each pair saves instead."
    return False, "Each pair saves the search and costs one pass. How many savings make up for the training?"


def first_step(answer: str) -> tuple[bool, str]:
    """Which layers get a gradient in the first step, when the last one's weights are zero?"""
    if answer == "last":
        return (
            True,
            "Its gradient is that of the field times the features, neither is zero. To the layers before, "
            "the gradient passes through the zero weights; from the second step on it arrives.",
        )
    if answer == "all":
        return False, "The chain rule multiplies by the last layer's weights on the way to the layers before it."
    if answer == "none":
        return False, "The field is zero, the slope of the loss at it is not, and neither are the features."
    return False, "Answer 'all', 'last' or 'none'."


def unknowns(answer: float, *, weights: int, shape: tuple[int, ...]) -> tuple[bool, str]:
    """From how many pairs on do their fields have more values than the network has weights?"""
    values = len(shape) * math.prod(shape)
    right = weights // values + 1
    if answer == right:
        return True, f"{right} fields of {values} values. For fewer pairs the weights could hold every field."
    if answer in (right - 1, weights / values):
        return False, "Not quite enough: a whole number of pairs, and more values than weights."
    if answer == weights // math.prod(shape) + 1:
        return False, f"Each voxel has {len(shape)} values, one per direction."
    return False, "Values of one field: directions times voxels. Divide the weights by that."


def overfit(answer: int, *, seen: dict[int, float], unseen: dict[int, float]) -> tuple[bool, str]:
    """Which network overfits most? Errors on training and on test pairs by number of training pairs."""
    gaps = {pairs: unseen[pairs] - seen[pairs] for pairs in seen}
    right = max(gaps, key=gaps.__getitem__)
    if answer == right:
        return True, f"{seen[right]:.0%} of the motion is left on its own pairs, {unseen[right]:.0%} on the others."
    if answer in gaps:
        return False, f"Its gap between test and training is {gaps[answer]:.0%} of the motion; another one's is larger."
    return False, f"One of {', '.join(str(pairs) for pairs in gaps)}."


EXERCISES = {
    "learning-pays": pays,
    "learning-first-step": first_step,
    "learning-unknowns": unknowns,
    "learning-overfit": overfit,
}
