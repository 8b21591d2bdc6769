"""Where weights come from, in the header of their file: data, loss, steps, seed, versions, licence.

`provenance` gathers it after a training, `moereg.models.save_weights` writes it, `moereg.models.read_provenance` reads
it, and `seen_in_training` asks it whether a network knows scans on which it is about to be measured.
"""

import time
from collections.abc import Mapping
from pathlib import Path

import torch

from moereg import __version__
from moereg.data.pairs import Pairs
from moereg.training.checkpoint import as_json, identity_of
from moereg.training.config import History, TrainingConfig
from moereg.training.drawing import pairs_of_a_step

SCANS, DIGITS = 5000, 12  # how many scans a file tells, by how many digits of their digest
TAIL = 20  # the last twentieth of a training is its end


def provenance(
    pairs: Pairs,
    config: TrainingConfig,
    history: History,
    *,
    data: str,
    licence: str | None = None,
    started_from: str | None = None,
    processes: int = 1,
) -> dict:
    """What to know about a finished training, ready for JSON.

    Args:
        data: what the user calls the pairs; of a table, its file's name alone is kept.
        licence: under which the weights may be used.
        started_from: weights that it began with.
    """
    return {
        "data": Path(data).name,
        "identity": identity_of(pairs),
        "pairs": len(pairs),
        "scans": scans_of(pairs),
        "licence": licence,
        "started_from": started_from,
        "training": as_json(config),
        "pairs_of_a_step": pairs_of_a_step(config, processes),
        "processes": processes,
        "steps": len(history.loss),
        "lengthened": history.lengthened,
        "loss": _end(history.loss),
        "similarity": _end(history.similarity),
        "dice": _end([dice for dice in history.dice if dice is not None]),
        "seconds": round(history.seconds, 1),
        "date": time.strftime("%Y-%m-%d"),
        "moereg": __version__,
        "torch": torch.__version__,
    }


def scans_of(pairs: Pairs) -> list[str] | None:
    """Digests of the scans of a set of files; None where there are none, or too many."""
    scans = getattr(pairs, "scans", None)
    found = [] if scans is None else [digest[:DIGITS] for digest in scans()]
    return found if 0 < len(found) <= SCANS else None


def seen_in_training(origin: Mapping, pairs: Pairs) -> int:
    """How many scans among `pairs` the network of this provenance was trained on, as far as both can be told."""
    known, asked = origin.get("scans"), scans_of(pairs)
    if not isinstance(known, list) or asked is None:
        return 0
    return len({digest for digest in known if isinstance(digest, str)} & set(asked))


def _end(values: list[float]) -> float | None:
    last = values[-max(1, len(values) // TAIL) :]
    return round(sum(last) / len(last), 6) if last else None
