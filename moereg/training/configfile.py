"""A run on paper: what `moereg train` was asked for, as a file that it writes and that another run reads (TOML).

    model = "shmoareg"
    data = "pairs.csv"

    [training]                  fields of `TrainingConfig`
    steps = 300

    [training.augmentation]     fields of `Augmentation`
    turn = 4.0

    [sizes]                     fields of the model's sizes
    stem_stride = 1

What is left out has its default. A key that means nothing is refused by its name.
"""

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from moereg.data.augmentation import Augmentation
from moereg.files import write_text_whole
from moereg.training.config import TrainingConfig

HEAD = """\
# What `moereg train` was asked for. `moereg train --config FILE --out DIR` asks for the same; options beside it win.
"""
BARE = re.compile(r"[A-Za-z0-9_-]+")
KINDS = {"model": str, "data": str, "init_weights": str, "licence": str, "pairs": int, "threads": int, "shape": list}


@dataclass
class Run:
    """What one training was asked for; None, or nothing, where nothing was said.

    Args:
        training: fields of `TrainingConfig` by name.
        sizes: of the model, by name.
        shape: grid of the images.
        pairs: how many to train on.
        threads: of the CPU.
        licence: of the weights.
    """

    model: str = ""
    data: str = ""
    shape: list[int] | None = None
    pairs: int | None = None
    threads: int | None = None
    init_weights: str | None = None
    licence: str | None = None
    training: dict = field(default_factory=dict)
    sizes: dict = field(default_factory=dict)

    def config(self, base: TrainingConfig | None = None) -> TrainingConfig:
        """The options, on top of those of `base`.

        Raises:
            ValueError: one that a training cannot have.
        """
        options: dict[str, Any] = dict(self.training)
        if isinstance(options.get("augmentation"), dict):
            changes: dict[str, Any] = {name: _tuples(value) for name, value in options["augmentation"].items()}
            options["augmentation"] = Augmentation(**changes)
        return replace(base or TrainingConfig(), **options)


def write_run(path: str | Path, run: Run) -> Path:
    """The file of a run; entries that are None are left out."""
    return write_text_whole(path, HEAD + "".join(_table("", asdict(run))))


def read_run(path: str | Path) -> Run:
    """What the file of a run asks for.

    Raises:
        FileNotFoundError, ValueError: no such file; no TOML; a key that means nothing, by its name; a value of another
            kind.
    """
    path = Path(path)
    if not path.is_file():
        what = "it is none" if path.exists() else "there is no such file"
        raise FileNotFoundError(f"{path} must be the file of a run, but {what}.")
    try:
        found = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be a text in UTF-8, but its byte {error.start + 1} is none.") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ValueError(f"{path} must be TOML, but it cannot be read as such: {error}.") from None
    _check_keys(path, "", found, [entry.name for entry in fields(Run)])
    for name, kind in KINDS.items():
        _check_kind(path, name, found.get(name), kind)
    for name in ("training", "sizes"):
        _check_kind(path, name, found.get(name), dict)
    training = found.get("training", {})
    _check_keys(path, "training.", training, [entry.name for entry in fields(TrainingConfig)])
    changes = training.get("augmentation", {})
    _check_kind(path, "training.augmentation", changes, dict)
    _check_keys(path, "training.augmentation.", changes, [entry.name for entry in fields(Augmentation)])
    return Run(**found)


def _check_keys(path: Path, where: str, found: Iterable[str], known: list[str]) -> None:
    for key in found:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"; is {where}{near[0]} meant?" if near else ""
            raise ValueError(f"{path} must have keys among {', '.join(known)}, got {where}{key}{hint}")


def _check_kind(path: Path, name: str, value, kind: type) -> None:
    words = {str: "a text", int: "a whole number", list: "a list", dict: "a table"}
    if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
        raise ValueError(f"{path}: {name} must be {words[kind]}, got {value!r}.")


def _table(name: str, values: dict) -> Iterator[str]:
    """Lines of one table, those of the tables within it behind them."""
    inner = {key: value for key, value in values.items() if isinstance(value, dict)}
    plain = {key: value for key, value in values.items() if value not in (None, "") and key not in inner}
    if name and (plain or not inner):
        yield f"\n[{name}]\n"
    for key, value in plain.items():
        yield f"{_key(key)} = {_value(value)}\n"
    for key, value in inner.items():
        yield from _table(f"{name}.{_key(key)}" if name else _key(key), value)


def _key(key: str) -> str:
    return key if BARE.fullmatch(key) else _text(key)


def _value(value) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return _text(value) if isinstance(value, str) else repr(value)


def _text(text: str) -> str:
    # The same escapes as in JSON, but one more character may not stand as it is.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _tuples(value):
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
