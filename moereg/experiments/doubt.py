"""Does doubt mark error? Entropy of a router against the endpoint error, with the size of the motion held fixed.

Large motion is hard to find, and it makes features that routers, trained or not, are less sure about: entropy and error
go together although neither tells of the other. What is judged is therefore the *partial* rank correlation

    r_ab.m = (r_ab - r_am r_bm) / sqrt((1 - r_am^2) (1 - r_bm^2))

of entropy a and error b given the size m of the true motion: Spearman's on the voxels of one pair, and over pairs by
the one rule.

| control        | what it is                                              | must be found?                          |
|----------------|---------------------------------------------------------|-----------------------------------------|
| other subject  | the entropy of another pair at the same voxels          | it is what the pair's own has to exceed |
| oracle         | the error itself, half of its rank drowned in noise     | yes: else these pairs cannot show it    |
| other networks | handed in: the same sizes untrained, or random routers  | what they show needs no training        |
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor, nn

from moereg.data.pairs import Pair, Pairs
from moereg.experiments.finding import Finding
from moereg.experiments.organs import TRAINED
from moereg.experiments.running import decoders, registrations
from moereg.experiments.statistics import labels_on_grid, partial_rank_correlation, rank_correlation
from moereg.metrics import UNDECIDED, paired_effect
from moereg.nn.routing import Routing


def entropy_against_error(
    model: nn.Module, pairs: Pairs, *, controls: dict[str, nn.Module] | None = None, seed: int = 0
) -> Finding:
    """Is a router less sure where the field is wrong, beyond what the size of the motion explains?

    Args:
        pairs: with the true displacement, two or more, on one grid.
        controls: other networks under their names, asked the same question about their own errors.
        seed: of the oracle's noise.

    Returns:
        Rows per network, decoder layer and router: "spearman" (as it is), "partial" (motion held fixed), "other" and
        "oracle" (both partial); means over pairs, each series under "per_pair".
    """
    networks = {TRAINED: model} | (controls or {})
    rows = [row for name, network in networks.items() for row in _rows(name, network, pairs, seed)]
    return Finding("Does doubt mark error?", rows, entropy_sentence(rows))


def _rows(network: str, model: nn.Module, pairs: Pairs, seed: int) -> list[dict]:
    generator = torch.Generator().manual_seed(seed)
    results = list(registrations(model, pairs))
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for number, (pair, result) in enumerate(results):
        following = results[(number + 1) % len(results)][1]
        truth = pair.require("displacement")
        error, motion = ((field - truth).norm(dim=0) for field in (result.displacement[0], torch.zeros_like(truth)))
        for routing in decoders(result):
            inside = _region(pair, routing)
            b, m = (_on_grid(value, routing)[inside] for value in (error, motion))
            noise = torch.randn(b.shape, generator=generator)
            drowned = torch.from_numpy(rankdata(b)) / len(b) + noise * 12**-0.5  # as much variance as ranks have
            for r, router in enumerate(routing.routers):
                a, its = (each.entropy()[0, r][inside] for each in (routing, following.routing[routing.name]))
                series = found.setdefault((routing.name, router), {})
                for key, value in (
                    ("spearman", rank_correlation(a, b)),
                    ("partial", partial_rank_correlation(a, b, m)),
                    ("other", partial_rank_correlation(its, b, m)),
                    ("oracle", partial_rank_correlation(drowned, b, m)),
                ):
                    series.setdefault(key, []).append(value)
    return [
        {"network": network, "layer": layer, "router": router}
        | {key: float(np.mean(values)) for key, values in series.items()}
        | {"per_pair": series}
        for (layer, router), series in found.items()
    ]


def entropy_sentence(rows: Sequence[dict]) -> str:
    """In how many routers entropy and error go together, in the network that was trained and in the controls."""
    own = [row for row in rows if row["network"] == TRAINED]
    effects = [_from_nothing(row) for row in own]
    directions = [effect.direction for effect in effects]
    beyond = [paired_effect(row["per_pair"]["partial"], row["per_pair"]["other"]).direction for row in own]
    strongest = max(range(len(own)), key=lambda i: abs(effects[i].mean))
    oracle = [_from_nothing(row, "oracle").direction for row in own]
    best = own[strongest]
    said = (
        f"With the size of the motion held fixed, entropy rises with the error in {directions.count('higher')} of "
        f"{len(own)} decoder routers, falls in {directions.count('lower')}, and is {UNDECIDED} from no relation in "
        f"{directions.count(UNDECIDED)}; it rises more than another subject's entropy does in "
        f"{beyond.count('higher')}. The strongest partial rank correlation is {effects[strongest].text(2)} in "
        f"{best['layer']}, direction {best['router']} ({best['spearman']:+.2f} with the motion left free). "
        f"A half drowned error is found in {oracle.count('higher')} of {len(own)}"
    )
    open_ = [effect for effect in effects if effect.direction == UNDECIDED]
    if open_:
        said += f"; where nothing is told apart, up to {max(max(-e.low, e.high) for e in open_):.2f} could hide"
    said += "."
    for name in dict.fromkeys(row["network"] for row in rows if row["network"] != TRAINED):
        found = [_from_nothing(row).direction for row in rows if row["network"] == name]
        said += (
            f" The {name} network: rises in {found.count('higher')}, falls in {found.count('lower')} of {len(found)}."
        )
    return said


def _from_nothing(row: dict, key: str = "partial"):
    return paired_effect(row["per_pair"][key], [0.0] * len(row["per_pair"][key]))


def _region(pair: Pair, routing: Routing) -> Tensor:
    """Voxels of the layer's grid where the truth means something."""
    if pair.region is None:
        return torch.ones(routing.gates.shape[3:], dtype=torch.bool)
    return labels_on_grid(pair.region.long(), routing.stride) > 0


def _on_grid(value: Tensor, routing: Routing) -> Tensor:
    """A map of the image, read at the voxels of the layer's grid: voxel i sits on voxel stride * i."""
    return value[(slice(None, None, routing.stride),) * value.ndim]
