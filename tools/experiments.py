"""`make experiments`: the trained experiments of the course, written to data/experiments/*.json.

    python -m tools.experiments ablation axis stability     some of them; all without a name
    python -m tools.experiments --judge                     nothing is trained: sentences anew from the recorded rows
    python -m tools.experiments --quick --out FOLDER        every experiment in miniature, in a minute

Two-dimensional but for `kinds` and the audits of the two networks that ship, so that fifty networks train on a laptop.
Every file holds the protocol, the machine, all rows, and the sentence that is computed from them; the notebooks show
these files. Every core gets a process of one thread, which takes one experiment after another (`--workers`). What was
broken off goes on with the networks that it had trained (`--work`); empty that folder when the code of networks or of
training changes.
"""

import argparse
import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch

from moereg import experiments as ex
from moereg.apply.methods import without_training
from moereg.classical import METHODS
from moereg.data import datasets, phantoms, templates
from moereg.data.phantoms import Motion, lung
from moereg.demo import machine, plan_for
from moereg.experiments import Finding, Protocol, RecursionProtocol, RegionProtocol, Task
from moereg.experiments.ablation import ablation_sentence
from moereg.experiments.amount import amount_sentence
from moereg.experiments.axis import axis_sentence
from moereg.experiments.contests import contest_sentence
from moereg.experiments.decisions import decisions_sentence
from moereg.experiments.degradation import quality_sentence
from moereg.experiments.growth import growth_sentence
from moereg.experiments.merging import merges_sentence
from moereg.experiments.protocol import Store, kept_in
from moereg.experiments.recursion import statements
from moereg.experiments.regions import labels_sentence
from moereg.experiments.sliding import sliding_sentence
from moereg.experiments.stability import stability_sentence
from moereg.experiments.worth import worth_sentence
from moereg.files import write_json_whole
from moereg.models import SMALL_BACKBONE, load_model
from moereg.training import TrainingConfig
from tools.compare import cores
from tools.experiments_pool import groups_of, longest_first, side_by_side
from tools.weights import LARGE, RECIPES

ROOT = Path(__file__).resolve().parent.parent
FOLDER, WORK = ROOT / "data" / "experiments", ROOT / ".experiments"
BREATHING = Motion()
# As far apart as a 64-voxel grid allows: head to foot wide and smooth, left to right small and fine.
SCALES = Motion(amplitude=(0.18, 0.09, 0.06), length=(0.5, 0.16, 0.09), drift=(0.5, 0.0, 0.0))
TWICE = Motion(amplitude=(0.36, 0.18, 0.18))  # of what the abdomen does
ORDER = (2, 1, 0)  # of z, y, x; in 2-D this exchanges the two axes
CHAMPION, RIVALS = "drivenmorph", ("voxelmorph",)
# The cortex of a brain is a voxel or two thick on these grids: DrivenMorph predicts a field at every voxel.
CONTEST_SIZES = {CHAMPION: {"stem_stride": 1}}


@dataclass(frozen=True)
class Scale:
    """How large everything is."""

    flat: tuple[int, int]
    volume: tuple[int, int, int]
    train: int  # pairs in two dimensions; half as many in volumes
    test: int
    quick: bool = False

    def training(self, **options) -> TrainingConfig:
        """Of one run."""
        return TrainingConfig(**{"device": "cpu"} | options | ({"steps": 2} if self.quick else {}))

    def seeds(self, count: int) -> tuple[int, ...]:
        """Two where everything is in miniature: an interval needs them."""
        return tuple(range(2 if self.quick else count))

    def task(self, name: str, *, anatomy: str = "abdomen", volumes: bool = False, train: int | None = None, **options):
        """Training and test pairs of one kind of phantom."""
        shape = self.volume if volumes else self.flat
        count = self.train if train is None or self.quick else train
        first, second = (
            [phantoms.make(anatomy, shape, seed, **options) for seed in seeds]
            for seeds in (range(count), range(9000, 9000 + self.test))
        )
        return Task(name, first, second)

    def small(self) -> "Scale":
        """For questions that need many steps: images of three quarters of the size."""
        return self if self.quick else replace(self, flat=(48, 48))


FULL = Scale((64, 64), (32, 32, 32), 48, 12)
AMOUNT_SHAPE = (48, 48)
QUICK = Scale((24, 24), (16, 16, 16), 2, 2, quick=True)


def base_protocol(scale: Scale) -> Protocol:
    return Protocol(scale.training(steps=200, pairs_per_step=2), seeds=scale.seeds(3))


def heads_protocol(scale: Scale) -> Protocol:
    """Three seeds of 1000 steps: long enough that attention has been learned, not that all else has."""
    return Protocol(scale.training(steps=1000), seeds=scale.seeds(3))


def recursion_protocol(scale: Scale) -> RecursionProtocol:
    training = scale.training(steps=150, pairs_per_step=2, learning_rate=3e-3, similarity="mse", smoothness=0.003)
    protocol = RecursionProtocol(training, seeds=scale.seeds(3))
    return replace(protocol, trained=(1, 2), recursions=(1, 2)) if scale.quick else protocol


def region_protocol(scale: Scale) -> RegionProtocol:
    """A backbone without attention, which is not told apart from one with it ("heads") and costs a third less."""
    training = scale.training(steps=600, learning_rate=2e-3, similarity="mse", smoothness=0.03)
    steps = 2 if scale.quick else 200
    sizes = SMALL_BACKBONE | {"moa_levels": ()}
    return RegionProtocol(training, seeds=scale.seeds(3), sizes=sizes, segmenter_steps=steps, shape=scale.flat)


def sliding_protocol(scale: Scale) -> RegionProtocol:
    return RegionProtocol(
        scale.training(steps=120, pairs_per_step=2, learning_rate=2e-3, similarity="mse"),
        seeds=scale.seeds(3),
        sizes=SMALL_BACKBONE,
        shape=scale.flat,
        groups=(lung.SLIDING,),  # what the pleura holds; everything else is the second region
        smoothness=(0.03, 0.1) if scale.quick else (0.01, 0.03, 0.1, 0.3),
    )


def amount_protocol(scale: Scale) -> Protocol:
    """A VoxelMorph of half the width that predicts the displacement itself, as the network of chapter 04 does."""
    narrow = {"integration_steps": 0, "widths": (8, *[16] * 5), "final_widths": (8, 8)}
    training = scale.training(learning_rate=3e-3, smoothness=0.5)
    return Protocol(training, seeds=scale.seeds(3), model="voxelmorph", sizes=narrow)


BRAIN_SHAPE = (32, 40, 32)  # of MNI152 pairs, about 6 mm


def worth_protocols(scale: Scale) -> dict[str, Protocol]:
    """A short training on the images alone, as somebody starts one."""
    alone = scale.training(steps=300, similarity="lncc", smoothness=0.1)
    return {"network of 300 steps": Protocol(alone, seeds=scale.seeds(3))}


Outcome = list[tuple[Finding, Protocol]]


def run_ablation(scale: Scale) -> Outcome:
    protocol = base_protocol(scale)
    tasks = [scale.task("breathing", motion=BREATHING), scale.task("scales far apart", motion=SCALES)]
    return [(ex.ablation(tasks, protocol, on_rows=say), protocol)]


def run_amount(scale: Scale) -> Outcome:
    """From few pairs to many, for a short and a long training; and the same subjects moving twice as far."""
    protocol, small = amount_protocol(scale), replace(scale, flat=AMOUNT_SHAPE)
    usual = small.task("usual motion", train=200, motion=BREATHING)
    twice = small.task("twice the motion", train=200, motion=TWICE)
    tests = {"usual motion": usual.test, "twice the motion": twice.test}
    runs = ((1, 200), (16, 200), (200, 200), (1, 1000), (16, 1000), (200, 1000))
    runs, control = (((1, 2), (2, 2)), (2, 2)) if scale.quick else (runs, (200, 1000))
    return [(ex.amount(usual, twice, tests, protocol, runs=runs, control=control, on_rows=say), protocol)]


def run_kinds(scale: Scale) -> Outcome:
    """The three kinds of expert, flat and in volumes; the volumes are small, because full kernels are slow there."""
    protocol = base_protocol(scale)
    flat, volume = scale.flat, scale.volume
    tasks = [
        scale.task(f"breathing, {flat[0]}^2", motion=BREATHING),
        scale.task(f"breathing, {volume[0]}^3", volumes=True, train=24, motion=BREATHING),
    ]
    return [(ex.ablation(tasks, protocol, variants=ex.KINDS, on_rows=say), protocol)]


def run_heads(scale: Scale) -> Outcome:
    """Attention in the encoder, chosen or not, within an image or across, or left out."""
    protocol, task = heads_protocol(scale), scale.task("breathing", train=200, motion=BREATHING)
    return [(ex.ablation([task], protocol, variants=ex.HEADS, on_rows=say), protocol)]


def routing_protocol(scale: Scale) -> Protocol:
    """The recipe of the network that ships, until Dice on validation pairs has levelled off; their error has not."""
    recipe = RECIPES["abdomen-flat"]
    steps = 2 if scale.quick else 4000
    return Protocol(replace(recipe.training, steps=steps, device="cpu"), seeds=scale.seeds(3), sizes=recipe.sizes)


def run_routing(scale: Scale) -> Outcome:
    """Routers that learn against routers that do not, where routers decide: on the pairs of the network that ships."""
    protocol, recipe = routing_protocol(scale), RECIPES["abdomen-flat"]
    counts = (2, 2) if scale.quick else (recipe.train_pairs, 30)
    train, test = (
        datasets.load(recipe.data, split, shape=scale.flat, count=count)
        for split, count in zip(("train", "test"), counts, strict=True)
    )
    task = Task("breathing", train, [test[i] for i in range(len(test))])
    return [(ex.ablation([task], protocol, variants=ex.ROUTING, on_rows=say), protocol)]


def run_driving(scale: Scale) -> Outcome:
    """DrivenMorph part by part: what registers, and what makes forces point."""
    protocol = replace(heads_protocol(scale), model=CHAMPION, sizes={"sigma": 1.0})
    task = scale.task("breathing", train=200, motion=BREATHING)
    measured = ex.driving_measures
    return [(ex.ablation([task], protocol, variants=ex.DRIVING, more=measured, on_rows=say), protocol)]


def far_apart(scale: Scale, name: str, motion: Motion = SCALES) -> Task:
    return scale.task(name, train=300, motion=motion)


def run_axis(scale: Scale) -> Outcome:
    """Where the two directions move most unlike each other, and routers are trained until they decide."""
    protocol = routing_protocol(scale)
    original, permuted = far_apart(scale, "original"), far_apart(scale, "permuted", SCALES.permuted(ORDER))
    return [(ex.axis_test(original, permuted, protocol, order=(1, 0), on_rows=say), protocol)]


def run_stability(scale: Scale) -> Outcome:
    """The networks of the axis test on the original motion."""
    protocol, task = routing_protocol(scale), far_apart(scale, "original")
    models = [ex.train_one(task, protocol, seed) for seed in protocol.seeds]
    return [(ex.seed_stability(models, task.test), protocol)]


def decisions_protocol(scale: Scale) -> Protocol:
    """Five seeds. After 1000 steps a longer training would still improve (see "growth")."""
    return Protocol(scale.training(steps=1000), seeds=scale.seeds(5))


def run_decisions(scale: Scale) -> Outcome:
    protocol, task = decisions_protocol(scale), scale.task("breathing", train=200, motion=BREATHING)
    return [(ex.decisions([task], protocol, on_rows=say), protocol)]


def run_growth(scale: Scale) -> Outcome:
    """Routers that are asked to decide: those that are not have little to grow."""
    protocol, task = decisions_protocol(scale), scale.task("breathing", train=200, motion=BREATHING)
    protocol = replace(protocol, training=replace(protocol.training, balance=0.0, information=0.1))
    return [(ex.growth(task, protocol, on_rows=say), protocol)]


def run_contest(scale: Scale) -> Outcome:
    """DrivenMorph, VoxelMorph and classical Demons on two kinds of anatomy."""
    protocol = base_protocol(scale)
    rows = []
    for anatomy in ("abdomen", "brain"):
        task = scale.task(f"{anatomy}, {scale.flat[0]}^2", anatomy=anatomy)
        rows += ex.contest_rows(task, protocol, (CHAMPION, *RIVALS), sizes=CONTEST_SIZES, on_rows=say)
    return [(ex.contest(rows, CHAMPION, RIVALS), protocol)]


def run_rman(scale: Scale) -> Outcome:
    protocol = recursion_protocol(scale)
    return [(ex.recursion_sweep(scale.task("large motion", motion=LARGE), protocol, on_rows=say), protocol)]


def run_segreg(scale: Scale) -> Outcome:
    small = scale.small()
    protocol, slides = region_protocol(small), sliding_protocol(scale)
    breathing = small.task("breathing", train=200, motion=BREATHING)
    labels, trained = ex.true_labels(breathing, protocol, on_rows=say)
    quality = ex.quality_sweep(trained, breathing.test, seeds=protocol.seeds)
    merges = ex.merges(breathing, protocol, on_rows=say)
    sliding = ex.sliding(scale.task("lung", anatomy="lung", train=24), slides, on_rows=say)
    return [(labels, protocol), (quality, protocol), (sliding, slides), (merges, protocol)]


def run_worth(scale: Scale) -> Outcome:
    """Real scans of different people, and the MNI152 template under a known motion that nobody has aligned."""
    protocols = worth_protocols(scale)
    count = 2 if scale.quick else 10
    scans = Task("hippocampus", *demo_pairs("hippocampus", scale, test=count))
    shape = scale.volume if scale.quick else BRAIN_SHAPE
    brains = Task("MNI152, turned", *([_turned_brain(shape, seed) for seed in seeds] for seeds in (
        range(2 if scale.quick else 30), range(9000, 9000 + count // 2),
    )))  # fmt: skip
    shipped = {"network that ships": load_model("hippocampus")}
    kinds = [(scans, untrained_tools() | shipped, protocols), (brains, untrained_tools(), protocols)]
    return [(ex.worth(kinds, on_rows=say), next(iter(protocols.values())))]


def untrained_tools() -> dict[str, Callable]:
    """What anybody has without a training."""
    ours, search = METHODS["demons-diffeomorphic"], partial(without_training, similarity="lncc")
    return {
        "nothing": METHODS["identity"],
        "affine": ex.linear,
        "affine, Demons": ex.Aligned(ours),
        "affine, Demons of SimpleITK": ex.Aligned(ex.simpleitk_demons),
        "affine, instance optimisation": ex.Aligned(search),
        "affine, greedy": ex.Aligned(METHODS["greedy"]),  # what `register` does where nothing is named
    }


def _turned_brain(shape, seed: int):
    return ex.turned(templates.mni152(shape, seed), seed)


def run_audit(data: str, scale: Scale) -> Outcome:
    """Audit the network that ships for these data on the demo's test pairs; in miniature, one of two steps."""
    plan = plan_for(data, "cpu")
    train, test = demo_pairs(data, scale)
    if scale.quick:
        protocol = Protocol(replace(plan.training, steps=2), seeds=(0,), sizes=plan.sizes)
        model = ex.train_one(Task(data, train, test), protocol, 0)
    else:
        recipe = RECIPES[data]
        protocol, model = Protocol(recipe.training, seeds=(0,), sizes=recipe.sizes), load_model(data)
    # Of a hippocampus scan most has no label: whether a voxel has one is the question.
    rest = data == "hippocampus"
    findings = ex.audit(model, test, controls=ex.control_networks(model), single=not scale.quick, rest=rest)
    return [(finding, protocol) for finding in findings]


def demo_pairs(data: str, scale: Scale, *, test: int | None = None):
    """Training and test pairs of the demo, or another number of test pairs."""
    plan = plan_for(data, "cpu")
    shape = scale.volume if scale.quick and plan.shape else plan.shape
    counts = (2, 2) if scale.quick else (plan.train_pairs, test or plan.test_pairs)
    train, tests = (
        datasets.load(data, split, shape=shape, count=count)
        for split, count in zip(("train", "test"), counts, strict=True)
    )
    return train, [tests[i] for i in range(len(tests))]


EXPERIMENTS: dict[str, Callable[[Scale], Outcome]] = {
    "ablation": run_ablation,
    "amount": run_amount,
    "axis": run_axis,
    "contest": run_contest,
    "stability": run_stability,
    "decisions": run_decisions,
    "growth": run_growth,
    "routing": run_routing,
    "driving": run_driving,
    "heads": run_heads,
    "kinds": run_kinds,
    "abdomen": lambda scale: run_audit("abdomen", scale),
    "hippocampus": lambda scale: run_audit("hippocampus", scale),
    "rman": run_rman,
    "segreg": run_segreg,
    "worth": run_worth,
}
# Every image of theirs has one shape.
FLAT = (
    "ablation", "axis", "contest", "stability", "decisions", "growth", "routing", "driving", "heads", "rman",
)  # fmt: skip
SHARED = {"stability": "axis"}  # whose networks it takes, where they are kept
# Described and tested, not run yet: each takes hours.
PENDING: tuple[str, ...] = ()

# Key that only rows of one kind of experiment hold -> their sentence.
SENTENCES: dict[str, Callable[[list[dict]], str]] = {
    "unseen": amount_sentence,
    "setting": decisions_sentence,
    "expert_cost": growth_sentence,
    "variant": ablation_sentence,
    "extent": lambda rows: axis_sentence(rows, original="original", permuted="permuted", order=(1, 0)),
    "tool": worth_sentence,
    "method": lambda rows: contest_sentence(rows, CHAMPION, RIVALS),
    "agreement": stability_sentence,
    "recursions": lambda rows: " ".join(statements(rows).values()),
    "labels": labels_sentence,
    "way": quality_sentence,
    "regularity": sliding_sentence,
    "merge": merges_sentence,
}


def say(rows: list[dict]) -> None:
    """Rows as soon as they are known."""
    for row in rows:
        shown = {key: value for key, value in row.items() if key != "per_pair"}
        print({key: round(value, 3) if isinstance(value, float) else value for key, value in shown.items()}, flush=True)


def record_of(outcome: Outcome, seconds: float) -> dict:
    """What a file holds: one finding at the top, several in a list."""
    record = {"machine": machine(torch.device("cpu")), "seconds": round(seconds, 1)}
    if len(outcome) == 1:
        ((finding, protocol),) = outcome
        return record | asdict(finding) | {"protocol": asdict(protocol)}
    return record | {
        "findings": [asdict(finding) for finding, _ in outcome],
        "protocols": [asdict(protocol) for _, protocol in outcome],
    }


def judge(record: dict) -> dict:
    """The same rows with the sentences that they allow today; audits keep theirs, whose rows lack single pairs."""
    findings = record.get("findings", [record])
    judged = []
    for finding in findings:
        kinds = [sentence for key, sentence in SENTENCES.items() if key in finding["rows"][0]]
        judged.append(finding | ({"sentence": kinds[0](finding["rows"])} if kinds else {}))
    return record | ({"findings": judged} if "findings" in record else judged[0])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*EXPERIMENTS, []], help="default: all")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--judge", action="store_true")
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--work", type=Path, default=WORK, help="networks of experiments that were broken off")
    parser.add_argument(
        "--workers", type=int, default=cores(), help="processes side by side; default: one for each core"
    )
    options = parser.parse_args(arguments)
    if options.quick and options.out.resolve() == FOLDER.resolve():
        parser.error("--quick needs --out: its numbers mean nothing and must not replace recorded ones")
    names = options.names or list(EXPERIMENTS)
    groups = groups_of(names, SHARED)
    if not options.judge and options.workers > 1 and len(groups) > 1:
        passed = ["--out", str(options.out), "--work", str(options.work), *(["--quick"] if options.quick else [])]
        side_by_side(longest_first(groups, FOLDER), passed, options.workers)
        return
    for name in names:
        path = options.out / f"{name}.json"
        if options.judge:
            record = judge(json_of(path))
        else:
            began = time.perf_counter()
            scale = QUICK if options.quick else FULL
            with (
                nullcontext(Store(options.work))
                if options.quick
                else kept_in(options.work / SHARED.get(name, name)) as store
            ):
                outcome = EXPERIMENTS[name](scale)
            record = record_of(outcome, time.perf_counter() - began + store.earlier)
            record |= {"shape": scale.flat} if name in FLAT else {}
        write_json_whole(path, record)
        for finding in record.get("findings", [record]):
            print(f"{name}, {record['seconds']:.0f} s: {finding['sentence']}", flush=True)


def json_of(path: Path) -> dict:
    """A recorded experiment."""

    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
