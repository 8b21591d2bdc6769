"""Questions of the course with checks that explain a wrong answer.

A notebook cell asks `check("tour-shift", answer)`. As long as the answer is `...` it says that it waits; a right answer
gets the reason why it is right; a known mistake gets the reason why it is wrong. The text is returned, not printed, so
that tests can read it. Each chapter's questions stand in a module of its own: a function that takes the answer, and
what the notebook measured, and returns (right, text).
"""

from dataclasses import dataclass
from typing import Any

from moereg.course.exercises import (
    attention,
    demons,
    drivenmorph,
    fields,
    learning,
    moa,
    rman,
    routers,
    segreg,
    shmoareg,
    shmoe,
    similarity,
    tour,
)

EXERCISES = {
    "tour-shift": tour.shift,
    "tour-gates": tour.gates,
    "tour-knockout": tour.knockout,
    "fields-pull": fields.pull,
    "fields-determinant": fields.determinant,
    "fields-fold": fields.fold,
    "fields-inverse": fields.inverse,
    "similarity-inverted": similarity.inverted,
    "similarity-noise": similarity.noise,
    "similarity-regulariser": similarity.regulariser,
    "similarity-capture": similarity.capture,
    "demons-force": demons.force,
    "demons-longest": demons.longest,
    "demons-smoothing": demons.smoothing,
    "demons-spacing": demons.spacing,
    "learning-pays": learning.pays,
    "learning-first-step": learning.first_step,
    "learning-unknowns": learning.unknowns,
    "learning-overfit": learning.overfit,
    "attention-equal-keys": attention.equal_keys,
    "attention-windows": attention.windows,
    "attention-shared-keys": attention.shared_keys,
    "routers-gate": routers.gate,
    "routers-collapse": routers.collapse,
    "routers-gradient": routers.gradient,
    "moa-saved": moa.saved,
    "moa-all-on": moa.all_on,
    "moa-permute": moa.permute,
    "shmoe-cost": shmoe.cost,
    "shmoe-extent": shmoe.extent,
    "shmoe-voxel": shmoe.voxel,
    "shmoareg-compose": shmoareg.compose,
    "shmoareg-control": shmoareg.control,
    "shmoareg-missed": shmoareg.missed,
    "drivenmorph-longest": drivenmorph.longest,
    "drivenmorph-stream": drivenmorph.stream,
    "drivenmorph-control": drivenmorph.control,
    "rman-compose": rman.compose,
    "rman-memory": rman.memory,
    "rman-recursions": rman.recursions,
    "segreg-merge": segreg.merge,
    "segreg-cost": segreg.cost,
    "segreg-systematic": segreg.systematic,
}


@dataclass(frozen=True)
class Verdict:
    """What the check found: `right` is None while the question waits for an answer."""

    right: bool | None
    text: str

    def _repr_markdown_(self) -> str:
        mark = {None: "*Waiting.*", True: "**Right.**", False: "**Not yet.**"}[self.right]
        return f"{mark} {self.text}"


def check(exercise: str, answer: Any = ..., **given: Any) -> Verdict:
    """Judge an answer to one of the course's exercises.

    Args:
        exercise: its name, as in the notebook.
        answer: the reader's; `...` means that there is none yet.
        given: what the notebook measured, for exercises whose answer depends on it.

    Raises:
        ValueError: no exercise of that name.
    """
    if exercise not in EXERCISES:
        raise ValueError(f"exercise must be one of {', '.join(EXERCISES)}, got {exercise!r}.")
    if answer is ...:
        return Verdict(None, "Replace `...` by your answer and run the cell again.")
    right, text = EXERCISES[exercise](answer, **given)
    return Verdict(bool(right), text)
