"""Questions of the course with checks that explain a wrong answer.

A notebook cell asks `check("tour-shift", answer)`. As long as the answer is `...` it says that it waits; a right answer
gets the reason why it is right; a known mistake gets the reason why it is wrong. The text is returned, not printed, so
that tests can read it. Each chapter's questions stand in a module of its own, whose `EXERCISES` names them: a question
for a number or a word is a function that takes the answer, and what the notebook measured, and returns (right, text);
one for code is a `Task`, which runs the reader's function beside the right one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from moereg.course.exercises import (
    attention,
    comparison,
    demons,
    drivenmorph,
    fields,
    learning,
    moa,
    rman,
    routers,
    scans,
    segreg,
    shmoareg,
    shmoe,
    similarity,
    tour,
)
from moereg.course.exercises.functions import Task
from moereg.course.exercises.reading import Unreadable, read

CHAPTERS = (
    tour, fields, similarity, demons, learning, attention, routers, moa, shmoe, shmoareg, drivenmorph, rman, segreg,
    comparison, scans,
)  # fmt: skip
EXERCISES: dict[str, Callable[..., tuple[bool | None, str]]] = {
    name: exercise for chapter in CHAPTERS for name, exercise in chapter.EXERCISES.items()
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
    judge = EXERCISES[exercise]
    if isinstance(judge, Task):
        return Verdict(*judge(answer))
    try:
        right, text = judge(read(answer, judge.__annotations__["answer"]), **given)
    except Unreadable as problem:
        return Verdict(False, str(problem))
    return Verdict(bool(right), text)
