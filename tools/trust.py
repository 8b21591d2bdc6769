"""How often is the verdict of `moereg register` right? Registrations that go right, and wrong on purpose.

    python -m tools.trust                all cases, then thresholds from one half, tried on fresh pairs
    python -m tools.trust --judge        nothing is registered: thresholds and sentence anew from the recorded cases

Pairs of different hippocampi (labels), of phantoms and of MNI152 under known motions (true displacement). Each is
registered by methods that mostly go right, and spoiled: a method made rough, a moving image that was turned by 60
degrees, mirrored, or drowned in noise. Three parts share no subject and no motion:

    0  chooses the thresholds
    1  was looked at while the rule was made, more than once: no blind test
    2  fresh: registered and judged once, after the thresholds stood; the sentence is about it alone

The record says everything; `moereg/apply/verdict.py` holds its thresholds.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor

from moereg.apply import calibration, measures
from moereg.apply.methods import untrained
from moereg.apply.verdict import Thresholds
from moereg.classical import greedy_correlation
from moereg.data import Pair, datasets, phantoms, templates
from moereg.demo import machine
from moereg.fields import identity_grid, sample, warp, warp_labels
from moereg.files import write_json_whole
from moereg.metrics import dice
from moereg.regularity import fold_fraction

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "data" / "registering" / "verdict.json"
PHANTOM_SHAPE = (32, 32, 32)
SEEN = {"hippocampus": 2, "abdomen": 2, "brain": 2}  # pairs of parts 0 and 1
FRESH = {"hippocampus": 4, "abdomen": 2, "brain": 2, "mni152": 2}
# The first three hippocampus pairs of the test split share subjects with part 1; phantoms and motions of new seeds.
FIRST = {"hippocampus": 3, "abdomen": 1000, "brain": 1000, "mni152": 1000}
PARTS = (0, 1, 2)
MNI_SHAPE = (32, 40, 32)
TURN, NOISE = torch.pi / 3, 0.3
# What the verdict went by before it was calibrated.
BEFORE = Thresholds((0.0005, 0.01), (1.0, 3.0), (0.15, 0.5), (0.005, 0.02), (0.25, 0.1))
ROUGH = {"fluid_sigma": 0.5, "elastic_sigma": 0.0}


@cache
def pairs_of(name: str, part: int) -> list[Pair]:
    """Part 0 chooses the thresholds, 1 was looked at, 2 is fresh; a set that a part has not is empty."""
    count = (FRESH if part == 2 else SEEN).get(name, 0)
    first = FIRST[name] if part == 2 else 0
    if name == "hippocampus":
        found = datasets.load(name, ("val", "test", "test")[part], count=first + count)
        return [found[i] for i in range(first, first + count)]
    if part == 2:
        make = templates.mni152 if name == "mni152" else partial(phantoms.make, name)
        return [make(MNI_SHAPE if name == "mni152" else PHANTOM_SHAPE, seed) for seed in range(first, first + count)]
    return [phantoms.make(name, PHANTOM_SHAPE, 2 * seed + part) for seed in range(count)]


def _as_it_is(pair: Pair) -> Pair:
    return pair


def _turned(pair: Pair) -> Pair:
    """The moving image turned about its first axis."""
    middle = torch.tensor([(n - 1) / 2 for n in pair.shape]).view(3, 1, 1, 1)
    z, y, x = identity_grid(pair.shape) - middle
    cos, sin = torch.cos(torch.tensor(TURN)), torch.sin(torch.tensor(TURN))
    field = torch.stack([z, cos * y - sin * x, sin * y + cos * x]) + middle - identity_grid(pair.shape)
    return replace(
        pair,
        moving=sample(pair.moving[None], field[None])[0],
        moving_labels=warp_labels(pair.require("moving_labels")[None], field[None])[0],
        displacement=None,
    )


def _mirrored(pair: Pair) -> Pair:
    """Head for foot."""
    return replace(
        pair, moving=pair.moving.flip(1), moving_labels=pair.require("moving_labels").flip(1), displacement=None
    )


def _noisy(pair: Pair) -> Pair:
    grain = torch.randn(pair.moving.shape, generator=torch.Generator().manual_seed(0))
    return replace(pair, moving=(pair.moving + NOISE * grain).clamp(0, 1))


Method = Callable[..., object]
GREEDY = untrained("greedy", "lncc")
CASES: dict[str, tuple[Callable[[Pair], Pair], Method]] = {
    "greedy": (_as_it_is, GREEDY),
    "demons-diffeomorphic": (_as_it_is, untrained("demons-diffeomorphic", "lncc")),
    "instance": (_as_it_is, untrained("instance", "lncc")),
    "rough": (_as_it_is, lambda moving, fixed, *_: greedy_correlation(moving, fixed, **ROUGH)),
    "turned": (_turned, GREEDY),
    "mirrored": (_mirrored, GREEDY),
    "noisy": (_noisy, GREEDY),
}


def case(name: str, part: int, index: int, treatment: str) -> dict:
    """One registration: findings as `moereg register` has them, errors before and after, the outcome."""
    pair = pairs_of(name, part)[index]
    spoil, method = CASES[treatment]
    given = spoil(pair)
    forward, backward = (
        method(*images, None, ()).displacement
        for images in ((given.moving[None], given.fixed[None]), (given.fixed[None], given.moving[None]))
    )
    before = measures.local_correlation(given.moving, given.fixed)
    after = measures.local_correlation(warp(given.moving[None], forward)[0], given.fixed)
    # What was apart before is that of the pair as it is: who turns an image has not made a registration better.
    errors = [_error(pair, pair, torch.zeros_like(forward)), _error(given, pair, forward)]
    if given.displacement is None and pair.displacement is not None:
        errors = [_overlap_error(pair, torch.zeros_like(forward)), _overlap_error(given, forward)]
    return {
        "set": name, "part": part, "pair": pair.name, "case": treatment, "similarity": [before, before, after],
        "folds": float(fold_fraction(forward)), "inverse_error": measures.inverse_consistency(forward, backward),
        "uncovered": 0.0, "errors": errors, "outcome": calibration.outcome(*errors),
    }  # fmt: skip


def _error(given: Pair, pair: Pair, field: Tensor) -> float:
    """Endpoint error in voxels where the truth is known, else 1 - Dice."""
    if pair.displacement is not None and pair.region is not None:
        return float((field[0] - pair.displacement).norm(dim=0)[pair.region[0]].mean())
    return _overlap_error(given, field)


def _overlap_error(given: Pair, field: Tensor) -> float:
    scores = dice(warp_labels(given.require("moving_labels")[None], field)[0], given.require("fixed_labels"))
    return 1 - sum(scores.values()) / len(scores)


def run(path: Path) -> dict:
    """Every missing case; the record is written after each."""
    record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"rows": []}
    for part in PARTS:
        for name in FRESH:
            for index, pair in enumerate(pairs_of(name, part)):
                for treatment in CASES:
                    key = (name, pair.name, part, treatment)
                    if key not in {(r["set"], r["pair"], r["part"], r["case"]) for r in record["rows"]}:
                        record["rows"].append(case(name, part, index, treatment))
                        write_json_whole(path, record)
                        print(json.dumps(record["rows"][-1]), flush=True)
    return record


def judged(rows: list[dict]) -> dict:
    """Thresholds from part 0, the verdict on every part, the sentence about the fresh one."""
    parts = [[row for row in rows if row["part"] == part] for part in PARTS]
    chosen = calibration.calibrated(parts[0])
    counts = [calibration.counted(part, chosen) for part in parts]
    return {
        "thresholds": asdict(chosen),
        "chosen on": counts[0],
        "looked at": counts[1],
        "fresh": counts[2],
        "fresh, thresholds of before": calibration.counted(parts[2], BEFORE),
        "sentence": calibration.sentence(counts[2]),
    }


def main(arguments: list[str] | None = None) -> None:
    """Run, judge, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RECORD)
    parser.add_argument("--judge", action="store_true")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    record = json.loads(options.out.read_text(encoding="utf-8")) if options.judge else run(options.out)
    record["protocol"] = {
        "pairs of parts 0 and 1": SEEN, "fresh pairs": FRESH, "first fresh": FIRST, "phantoms": PHANTOM_SHAPE,
        "mni152": MNI_SHAPE, "turn": TURN, "noise": NOISE, "rough": ROUGH, "right": calibration.RIGHT,
    }  # fmt: skip
    record["machine"] = machine(torch.device("cpu"))
    write_json_whole(options.out, record | judged(record["rows"]))
    print(judged(record["rows"])["sentence"])


if __name__ == "__main__":
    main()
