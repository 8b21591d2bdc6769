"""The main job: train SHMoAReg and a yardstick on labelled pairs, compare them on pairs never trained on, report.

Beside the two stand classical Demons, which needs no training, and the SHMoAReg that comes with the repository, trained
for much longer on pairs of the same kind.

Everything that the job depends on stands in `DemoPlan`; the same code runs on phantoms and on real scans, for minutes
on a CPU and longer on a GPU.
"""

import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import nn
from tqdm.auto import tqdm

from moereg import __version__
from moereg.classical import METHODS, identity
from moereg.data import datasets
from moereg.data.datasets import licence_of
from moereg.data.pairs import Pairs
from moereg.data.tables import labels_told, told
from moereg.files import check_folder, write_json_whole
from moereg.metrics import TABLE_ROWS, evaluate, method_effects, text_table
from moereg.models import build, load_model, look_at, save_weights
from moereg.training import History, TrainingConfig, best_device, fit, provenance
from moereg.viz.payload import explorer_payload
from moereg.viz.report import write_report
from moereg.viz.snapshots import Snapshots
from moereg.viz.tables import Table

YARDSTICK, OURS, DEMONS, SHIPPED = "voxelmorph", "shmoareg", "demons-symmetric", "shipped"
TITLES = {
    "identity": "before",
    DEMONS: "Demons",
    YARDSTICK: "VoxelMorph (MONAI)",
    OURS: "SHMoAReg",
    SHIPPED: "SHMoAReg, shipped",
}
JUDGED = {"dice": ("Dice", ""), "epe": ("endpoint error", " voxels")}  # measure: title, unit


@dataclass(frozen=True)
class DemoPlan:
    """Sizes of one run."""

    shape: tuple[int, int, int] | None  # grid of the images, None = the data's own
    train_pairs: int | None  # different pairs that training draws from, None = all that there are
    test_pairs: int | None  # pairs that are never trained on
    training: TrainingConfig
    sizes: dict  # of SHMoAReg
    shipped: str | None = None  # name of the network in data/weights that was trained on such pairs

    def sizes_of(self, model: str) -> dict:
        """Sizes of a model by name, where they differ from its defaults."""
        return self.sizes if model == OURS else {}


# Phantoms teach without labels: the images alone. Hippocampus scans are nearly without contrast inside, and every
# published method on them uses the training labels; so do both methods here.
PLANS = {
    ("abdomen", "cpu"): DemoPlan((48, 48, 48), 32, 8, TrainingConfig(steps=160), {}, "abdomen"),
    ("abdomen", "gpu"): DemoPlan((96, 96, 96), 200, 20, TrainingConfig(steps=3000), {"stem_stride": 1}),
    ("hippocampus", "cpu"): DemoPlan(
        None, 2000, 12, TrainingConfig(steps=160, similarity="mse", labels=1.0, smoothness=0.3), {}, "hippocampus"
    ),
    ("hippocampus", "gpu"): DemoPlan(
        None, 2000, 40, TrainingConfig(steps=4000, similarity="mse", labels=1.0, smoothness=0.3), {"stem_stride": 1}
    ),
}


def plan_for(data: str, device: str) -> DemoPlan:
    """The plan for a data set by name, or for a table the phantoms' one without a shape, with all of its pairs."""
    kind = "cpu" if best_device(device).type == "cpu" else "gpu"
    plan = PLANS.get((data, kind)) or replace(PLANS["abdomen", kind], shape=None, shipped=None)
    if str(data).endswith(".csv"):
        plan = replace(plan, train_pairs=None, test_pairs=None)
    return replace(plan, training=replace(plan.training, device=device))


def run(
    out: str | Path = "demo-out",
    *,
    data: str = "abdomen",
    plan: DemoPlan | None = None,
    device: str = "auto",
    seed: int = 0,
    progress: bool = True,
    tell: Callable[[str], None] | None = None,
) -> dict:
    """Do the job and write `metrics.json`, `report.html` and both models' weights into `out`.

    Args:
        tell: called, before any training, with every sentence on how a table was read and parted.

    Returns:
        What `metrics.json` holds: `methods` (see `moereg.metrics.evaluate`), `training`, `machine`, `plan`.

    Raises:
        ValueError: a table that cannot be parted into pairs for training and for testing (see `moereg.data.tables`), or
            test pairs by which nothing can be compared.
        OSError: `out` cannot be written to; found before any work.
    """
    started = time.perf_counter()
    out = Path(out)
    check_folder(out)
    plan = plan or plan_for(data, device)
    sets = {
        split: datasets.load(data, split, shape=plan.shape, count=count, seed=seed, parted=True)
        for split, count in (("train", plan.train_pairs), ("test", plan.test_pairs))
    }
    table_told = [*told(data, sets["test"]), *labels_told(data, sets["train"], plan.training.labels)]
    if any(any(entry.masks) for entry in getattr(sets["train"], "files", ())):
        table_told.append(f"{data}: masks count in the training; methods register whole images when they are measured")
    if tell is not None:
        for sentence in table_told:
            tell(sentence)
    train, test = (load_pairs(pairs, split, progress) for split, pairs in sets.items())
    require_comparable(data, test)
    trained = look_at(sets["train"], Path(data).name)
    prepared = time.perf_counter() - started

    models, histories = {}, {}
    snapshots = Snapshots.spread(test[0], plan.training.steps)
    for name, watch in ((OURS, snapshots), (YARDSTICK, None)):
        torch.manual_seed(seed)
        models[name] = build(name, dims=len(test[0].shape), **plan.sizes_of(name))
        config = replace(plan.training, seed=seed)
        histories[name] = fit(models[name], train, config, progress=progress, title=TITLES[name], on_step=watch)
        origin = provenance(sets["train"], config, histories[name], data=data, licence=licence_of(data))
        save_weights(out / f"{name}.safetensors", models[name], provenance=origin, trained=trained)

    where = best_device(plan.training.device)
    methods = {"identity": identity, DEMONS: METHODS[DEMONS], YARDSTICK: models[YARDSTICK], OURS: models[OURS]}
    methods |= shipped(plan, where)
    table = evaluate(methods, test, device=where, progress=progress)
    result = {
        "data": data,
        "table": table_told,
        "methods": table,
        "training": {name: summary(models[name], histories[name]) for name in models},
        "plan": asdict(plan),
        "pairs": {"train": len(train), "test": len(test)},
        "seed": seed,
        "machine": machine(where),
        "seconds": {"data": prepared, "total": time.perf_counter() - started},
    }
    write_json_whole(out / "metrics.json", result)
    payload = explorer_payload(models[OURS], test[0], snapshots=snapshots.kept)
    result["seconds"]["total"] = time.perf_counter() - started
    write_demo_report(out / "report.html", result, payload, histories)
    write_json_whole(out / "metrics.json", result)
    return result


def shipped(plan: DemoPlan, device: torch.device) -> dict[str, nn.Module]:
    """The network that comes with the repository, under its row's name; none where there is no such file."""
    if plan.shipped is None:
        return {}
    try:
        return {SHIPPED: load_model(plan.shipped).to(device)}
    except FileNotFoundError:  # the library was installed without the repository
        return {}


def require_comparable(data: str, test: Pairs) -> None:
    """Require, before anything is trained, that some test pair shows which method is better.

    Raises:
        ValueError: none has labels of both images, nor a displacement that is known.
    """
    labelled = (None not in (pair.moving_labels, pair.fixed_labels) for pair in test)
    if not any(labelled) and not any(pair.displacement is not None for pair in test):
        raise ValueError(
            f"data must name labels of its test pairs to compare the methods by, got none in {data}; `moereg train` "
            "does without."
        )


def load_pairs(pairs: Pairs, split: str, progress: bool) -> Pairs:
    """Pairs of one split, made or read once, with a progress bar."""
    if split == "train" and len(pairs) > 200:
        return pairs  # too many to hold: read on demand
    with tqdm(range(len(pairs)), desc=f"{split} pairs", disable=not progress) as bar:
        return [pairs[i] for i in bar]


def summary(model: nn.Module, history: History) -> dict:
    """What training cost and where it ended."""
    steps = len(history.loss)
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "steps": steps,
        "seconds": history.seconds,
        "steps_per_second": steps / history.seconds,
        "loss": history.loss,
        "dice": history.dice,
    }


def machine(device: torch.device) -> dict:
    """Where the numbers come from."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "moereg": __version__,
    }


def verdict(methods: dict[str, dict]) -> str:
    """Who is better, computed from the numbers by the one rule, over pairs (there is one training of each network).

    Comparisons in which the network stays behind come first.
    """
    before = methods["identity"]
    figures = ", ".join(f"{JUDGED[name][0]} {before[name]:.3f}{JUDGED[name][1]}" for name in _known(before))
    lead = f"On {len(before['pairs'])} pairs never trained on, one training of each network; before: {figures}."
    asked = [pair for pair in ((OURS, DEMONS), (SHIPPED, DEMONS), (OURS, YARDSTICK)) if pair[0] in methods]
    compared = sorted((_compare(methods, *pair) for pair in asked), key=lambda answer: not answer[0])
    return " ".join([lead, *(sentence for _, sentence in compared)])


def _compare(methods: dict[str, dict], ours: str, theirs: str) -> tuple[bool, str]:
    """Is ours worse in anything? And "SHMoAReg to Demons: Dice 0.770 to 0.892, worse (-0.122 [-0.130, -0.114])."."""
    first, second = methods[ours], methods[theirs]
    effects = method_effects(first, second, tuple(JUDGED))
    judged = {name: effect.judged(name) for name, effect in effects.items()}
    parts = [
        f"{JUDGED[name][0]} {first[name]:.3f} to {second[name]:.3f}{JUDGED[name][1]}, {judged[name]} ({effect.text()})"
        for name, effect in effects.items()
    ]
    return "worse" in judged.values(), f"{TITLES[ours]} to {TITLES[theirs]}: {'; '.join(parts)}."


def _known(method: dict) -> list[str]:
    return [name for name in JUDGED if method[name] is not None]


def as_text(result: dict) -> str:
    """The comparison as a table for the terminal."""
    minutes = result["seconds"]["total"] / 60
    table, sentence = text_table(result["methods"], TITLES), verdict(result["methods"])
    return "\n".join([table, "", sentence, f"{minutes:.1f} minutes on {result['machine']['device']}."])


def write_demo_report(path: Path, result: dict, payload: dict, histories: dict[str, History]) -> None:
    """The page of one run."""
    methods = result["methods"]
    names = list(methods)
    organs = list(methods["identity"]["dice_per_label"])
    overlap = Table(
        caption="Dice per structure, mean over test pairs",
        columns=["structure", *(TITLES[name] for name in names)],
        rows=[
            *([organ, *(methods[name]["dice_per_label"].get(organ) for name in names)] for organ in organs),
            ["mean", *(methods[name]["dice"] for name in names)],
        ],
        best={"by": "row", "of": dict.fromkeys([*organs, "mean"], "max")},
    )
    others = Table(
        caption="Error, regularity, cost",
        columns=["measure", *(TITLES[name] for name in names)],
        rows=[
            [title, *(None if methods[name][key] is None else factor * methods[name][key] for name in names)]
            for title, key, factor in TABLE_ROWS[1:]
            if any(methods[name][key] is not None for name in names)
        ],
    )
    training = Table(
        caption="Training",
        columns=["model", "parameters", "steps", "seconds", "steps per second"],
        rows=[
            [TITLES[name], t["parameters"], t["steps"], t["seconds"], t["steps_per_second"]]
            for name, t in result["training"].items()
        ],
        digits=[0, 0, 0, 0, 2],
    )
    write_report(
        path,
        title="SHMoAReg, trained and opened",
        subtitle=verdict(methods),
        payload=payload,
        tables=[overlap, others, training],
        history={
            TITLES[name]: {"step": list(range(1, len(h.loss) + 1)), "loss": h.loss, "dice": h.dice}
            for name, h in histories.items()
        },
        facts={key: str(value) for key, value in result["machine"].items()}
        | {f"{name} pairs": str(count) for name, count in result["pairs"].items()}
        | {"data": result["data"], "seed": str(result["seed"]), "minutes": f"{result['seconds']['total'] / 60:.1f}"},
    )
