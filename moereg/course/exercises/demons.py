"""Chapter 03, Demons."""

import math


def force(answer: float, *, difference: float, gradient: float, step: float) -> tuple[bool, str]:
    """The Demons force along one axis from d, J and L, at unit spacing."""
    right = difference * gradient / (gradient**2 + difference**2 / (4 * step**2))
    if math.isclose(answer, right, rel_tol=0.02):
        return True, f"{right:.2f} voxels: along the gradient where the fixed image is brighter, and no longer than L."
    if math.isclose(answer, -right, rel_tol=0.02):
        return False, "The size is right. d is fixed minus warped, and moving is read at x + u."
    if math.isclose(answer, difference / gradient, rel_tol=0.02):
        return False, "That is optical flow, d / J. The second term of the denominator keeps the step short."
    return False, "Put the numbers into d J / (J^2 + d^2 / (4 L^2))."


def longest(answer: float, *, difference: float, step: float) -> tuple[bool, str]:
    """For which gradient is the force of a given difference longest?"""
    right = abs(difference) / (2 * step)
    if math.isclose(answer, right, rel_tol=0.02):
        return True, f"There both terms of the denominator are equal, and the force is L = {step:g} voxels long."
    if math.isclose(answer, 0, abs_tol=1e-9):
        return False, "Without a gradient there is no direction, and no force. Optical flow would be infinite there."
    return False, "Differentiate d J / (J^2 + c^2) by J; it is longest where J equals c. What is c?"


def smoothing(answer: str) -> tuple[bool, str]:
    """A small disc must grow to more than twice its size. Which of the two should be smoothed?"""
    if answer in ("update", "fluid"):
        return True, "A smoothed field pays for its own slope in each iteration; smoothed updates may add up."
    if answer in ("field", "elastic"):
        return False, "Look at the two final discs: smoothing the field holds it back a little in each iteration."
    return False, "Answer 'field' or 'update'."


def spacing(answer: float) -> tuple[bool, str]:
    """All voxels become twice as large, the intensities stay. By which factor does a displacement in voxels change?"""
    if math.isclose(answer, 1, abs_tol=1e-6):
        return True, "Gradients per mm halve, h doubles: the force doubles in mm and stays the same in voxels."
    if math.isclose(answer, 2, abs_tol=1e-6):
        return False, "That is the factor in millimetres."
    if math.isclose(answer, 0.5, abs_tol=1e-6):
        return False, "Gradients per mm halve, but that makes the force in mm longer; then divide by the voxel's edge."
    return False, "Put J / 2 and 2 h into the force in mm, and divide by 2 for voxels."


EXERCISES = {
    "demons-force": force,
    "demons-longest": longest,
    "demons-smoothing": smoothing,
    "demons-spacing": spacing,
}
