"""One voxel's part of what a routed layer saw and decided, and how its numbers are said and drawn."""

from torch import Tensor

from moereg.nn.observe import Observation


class Decision:
    """One voxel's part of everything a layer saw and decided."""

    def __init__(self, seen: Observation, item: int, r: int, place: tuple[int, ...]):
        self.seen, self.router, self.routing, self.output = seen, seen.router, seen.routing, seen.output
        self.item, self.r, self.place = item, r, place
        at, routing = (slice(None), *place), seen.routing
        self.features = seen.features[item][at]
        self.logits = routing.logits[item, r][at]
        self.gates = routing.gates[item, r][at]
        self.chosen = routing.indices[item, r][at].tolist()
        self.dropped = [e for e in range(len(routing.experts)) if e not in self.chosen]
        self.names = [routing.experts[e] for e in self.chosen]


def bars(values: Tensor, low: float, high: float, *, faint: list[int] | None = None, digits: int = 2) -> dict:
    """Bars to draw, one per expert, on an axis from `low` to `high`; those of the experts in `faint` are pale."""
    return {"values": numbers(values), "low": low, "high": high, "digits": digits, "faint": faint or []}


def numbers(values: Tensor) -> list[float]:
    """Numbers for JSON: five decimals say more than a bar or a strip shows."""
    return [round(float(v), 5) for v in values]


def signed(value: Tensor | float, digits: int = 2) -> str:
    """With its sign, which is a minus and no hyphen."""
    return f"{float(value):+.{digits}f}".replace("-", "−")


def joined(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def coordinates(place: tuple[int, ...]) -> str:
    """`(1, 2, 3)`, whatever kind of whole numbers."""
    return "(" + ", ".join(str(int(v)) for v in place) + ")"
