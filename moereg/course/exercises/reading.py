"""An answer as it was meant: "9,89" is a number, " Bending " a word, a tensor of one entry its entry."""

from collections.abc import Collection
from typing import Any, get_origin

from torch import Tensor

ASKED = {
    float: "a number",
    int: "a number",
    str: "a word in quotes",
    tuple: "two numbers",
    Collection: "a set of words",
}


class Unreadable(ValueError):
    """An answer of another kind than the question asks for; its text says which."""


def read(answer: Any, annotation: Any) -> Any:
    """`answer` as what the exercise's annotation says.

    Args:
        annotation: float, int, str, tuple[float, float] or Collection[str].

    Raises:
        Unreadable: in one sentence, with what was expected and what came.
    """
    kind = get_origin(annotation) or annotation
    if kind in (float, int):
        return _number(answer)
    if kind is str:
        return _word(answer)
    if kind is tuple:
        return _numbers(answer)
    return _words(answer)


def _number(answer: Any) -> float:
    if isinstance(answer, str):
        # "6 400" and "6_400" hold no decimal comma, "9,89" does
        answer = answer.strip().replace(" ", "").replace("_", "").replace(",", ".").removesuffix("x")
    if isinstance(answer, bool) or answer is None:
        raise Unreadable(_sentence(answer, float))
    try:
        return answer if isinstance(answer, int) else float(answer)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise Unreadable(_sentence(answer, float)) from None


def _word(answer: Any) -> str:
    if not isinstance(answer, str):
        raise Unreadable(_sentence(answer, str))
    return answer.strip().strip("\"'").casefold()


def _numbers(answer: Any) -> tuple[float, ...]:
    answer = answer.tolist() if isinstance(answer, Tensor) else answer
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise Unreadable(_sentence(answer, tuple))
    return tuple(_number(one) for one in answer)


def _words(answer: Any) -> frozenset[str]:
    answer = [answer] if isinstance(answer, str) else answer
    if not isinstance(answer, Collection) or not all(isinstance(one, str) for one in answer):
        raise Unreadable(_sentence(answer, Collection))
    return frozenset(_word(one) for one in answer)


def _sentence(answer: Any, kind: Any) -> str:
    got = repr(answer) if isinstance(answer, str | bool | int | float) else f"a {type(answer).__name__}"
    return f"The answer is {ASKED[kind]}; got {got[:60]}."
