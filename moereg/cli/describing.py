"""`moereg describe`: what a file of weights holds, and where it comes from."""

import argparse

from moereg.cli.options import command


def add_command(commands) -> None:
    """`describe`, with its option."""
    describe = command(commands, "describe", run_describe, "say what a file of weights holds and where it comes from")
    describe.add_argument("weights", help="file of weights or checkpoint, or a name in data/weights")


def run_describe(options: argparse.Namespace) -> None:
    """`moereg describe`"""
    import json

    from moereg.models import find_weights
    from moereg.models.storage import read_tensors

    path = find_weights(options.weights)
    tensors, header = read_tensors(path)
    kinds = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()})
    print(path)
    print(f"  numbers        {sum(tensor.numel() for tensor in tensors.values()):,} ({', '.join(kinds)})")
    for key, text in sorted(header.items(), key=lambda entry: entry[0] != "model"):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = text
        print("\n".join(_lines(key, value)))
    if "provenance" not in header and "step" not in header:
        print("  provenance     not told; files of before did not")
    card = path.with_suffix(".json")
    if card.is_file():
        print(f"  card           {card}")


def _lines(key: str, value, indent: int = 2) -> list[str]:
    """One entry of a header; long lists by their length, a table line by line."""
    if isinstance(value, dict) and value:
        return [f"{' ' * indent}{key}", *(line for name in value for line in _lines(name, value[name], indent + 2))]
    if isinstance(value, list) and len(value) > 12:
        value = f"{len(value)} entries"
    return [f"{' ' * indent}{key:<{max(16 - indent, 1)}} {'not known' if value is None else _plain(value)}"]


def _plain(value) -> str:
    text = ", ".join(map(_plain, value)) if isinstance(value, list) else str(value)
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:200]
