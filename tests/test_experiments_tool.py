"""`tools/experiments.py`: every experiment runs in miniature, and what is recorded says what its rows allow."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from moereg.apply.methods import DEFAULT
from moereg.classical import METHODS
from moereg.experiments import Finding, Protocol, effect_between
from moereg.training import TrainingConfig
from tests.oracles import slab_pair
from tools import experiments as tool

RECORDED = sorted(tool.FOLDER.glob("*.json"))


def findings_of(record):
    return record.get("findings", [record])


# ---- miniatures ----


def check_record(path, name):
    record = json.loads(path.read_text())
    assert record["seconds"] >= 0
    assert record["machine"]["device"] == "cpu"
    protocols = record.get("protocols") or [record["protocol"]]
    assert len(protocols) == len(findings_of(record))
    assert all(protocol["training"]["steps"] == 2 for protocol in protocols)
    for finding in findings_of(record):
        assert finding["rows"]
        assert finding["sentence"].endswith(".")
    assert tool.judge(record) == record
    [known] = [p for p in RECORDED if p.stem == name]  # the committed file has findings of the same kinds
    committed = findings_of(json.loads(known.read_text()))
    assert [f["question"] for f in committed] == [f["question"] for f in findings_of(record)]
    for new, old in zip(findings_of(record), committed, strict=True):
        assert set(old["rows"][0]) <= set(new["rows"][0])
    return record


# Sets that draw or read a pair when it is asked for are no sequences in the sense of `collections.abc`.
@pytest.mark.plain_errors
@pytest.mark.parametrize("name", ["axis", "stability", "abdomen"])
def test_in_miniature(name, tmp_path, capsys):
    tool.main([name, "--quick", "--out", str(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.json"]
    record = check_record(tmp_path / f"{name}.json", name)
    printed = capsys.readouterr().out
    assert all(finding["sentence"] in printed for finding in findings_of(record))


@pytest.mark.data
@pytest.mark.plain_errors
@pytest.mark.usefixtures("hippocampus")
def test_on_real_scans_in_miniature(tmp_path):
    tool.main(["hippocampus", "--quick", "--out", str(tmp_path)])
    check_record(tmp_path / "hippocampus.json", "hippocampus")


# ---- what each experiment is asked: the experiments themselves are tested in tests/experiments ----


class Asked:
    """Stands in for `moereg.experiments`: keeps every call and answers with a finding named after it."""

    KINDS, HEADS, ROUTING, DRIVING = tool.ex.KINDS, tool.ex.HEADS, tool.ex.ROUTING, tool.ex.DRIVING
    driving_measures = staticmethod(tool.ex.driving_measures)

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        def ask(*args, **options):
            self.calls.append(SimpleNamespace(name=name, args=args, **options))
            finding = Finding(name, [{"name": name}], f"{name}.")
            return {"contest_rows": [{"of": len(self.calls)}], "true_labels": (finding, ["trained"])}.get(name, finding)

        return ask


@pytest.fixture
def asked(monkeypatch):
    monkeypatch.setattr(tool, "ex", Asked())
    drawn = []

    def make(anatomy, shape, seed, **options):
        drawn.append((anatomy, shape, seed, options))
        return slab_pair(
            shape=(20, *[4] * (len(shape) - 1)), name=f"{anatomy} {seed} {shape[0]} {len(shape)} {options}"
        )

    monkeypatch.setattr(tool.phantoms, "make", make)
    return tool.ex.calls


def names(pairs):
    return [pair.name for pair in pairs]


def test_sizes_of_a_recorded_and_of_a_quick_run(asked):
    task = tool.FULL.task("t", anatomy="lung", train=3, motion=tool.LARGE)
    assert names(task.train) == [f"lung {seed} 64 2 {{'motion': {tool.LARGE}}}" for seed in range(3)]
    assert names(task.test) == [f"lung {seed} 64 2 {{'motion': {tool.LARGE}}}" for seed in range(9000, 9012)]
    assert len(tool.FULL.task("t").train) == 48
    quick = tool.QUICK.task("t", volumes=True, train=24)
    assert (names(quick.train), names(quick.test)) == (
        ["abdomen 0 16 3 {}", "abdomen 1 16 3 {}"],
        ["abdomen 9000 16 3 {}", "abdomen 9001 16 3 {}"],
    )
    assert tool.FULL.training(steps=7, similarity="mse") == TrainingConfig(steps=7, similarity="mse", device="cpu")
    assert tool.QUICK.training(steps=7).steps == 2
    assert (tool.FULL.seeds(3), tool.QUICK.seeds(3)) == ((0, 1, 2), (0, 1))


def test_the_ablation_has_two_kinds_of_motion(asked):
    [(finding, protocol)] = tool.EXPERIMENTS["ablation"](tool.QUICK)
    [call] = asked
    tasks, given = call.args
    assert (call.name, finding.question) == ("ablation", "ablation")
    assert given == protocol == Protocol(tool.QUICK.training(pairs_per_step=2), seeds=(0, 1))
    assert [task.name for task in tasks] == ["breathing", "scales far apart"]
    assert str(tool.BREATHING) in tasks[0].train[0].name
    assert str(tool.SCALES) in tasks[1].test[0].name
    assert not hasattr(call, "variants")


def test_kinds_are_compared_flat_and_in_volumes(asked):
    [(_, protocol)] = tool.EXPERIMENTS["kinds"](tool.QUICK)
    [call] = asked
    sizes = {name: variant.sizes for name, variant in call.variants.items()}
    assert sizes == {kind: {"expert_kind": kind} for kind in ("nested", "full", "separable")}
    assert [(task.name, task.dims) for task in call.args[0]] == [("breathing, 24^2", 2), ("breathing, 16^3", 3)]
    assert protocol is call.args[1]


def test_heads_are_compared_on_one_kind_of_motion_with_time_to_learn(asked):
    [(_, protocol)] = tool.EXPERIMENTS["heads"](tool.QUICK)
    [call] = asked
    assert call.variants == tool.ex.HEADS
    assert [task.name for task in call.args[0]] == ["breathing"]
    assert protocol is call.args[1]
    assert (tool.heads_protocol(tool.FULL).training.steps, tool.heads_protocol(tool.FULL).seeds) == (1000, (0, 1, 2))
    assert "heads" in tool.FLAT


def test_amounts_are_of_pairs_of_steps_and_of_motion(asked):
    [(_, protocol)] = tool.EXPERIMENTS["amount"](tool.FULL)
    [call] = asked
    usual, twice, tests, given = call.args
    assert given is protocol
    assert (protocol.model, protocol.seeds, protocol.sizes["integration_steps"]) == ("voxelmorph", (0, 1, 2), 0)
    assert set(call.runs) == {(pairs, steps) for pairs in (1, 16, 200) for steps in (200, 1000)}
    assert call.control == (200, 1000)
    assert (len(usual.train), len(twice.train)) == (200, 200)
    assert usual.train[0].name == f"abdomen 0 48 2 {{'motion': {tool.BREATHING}}}"
    assert twice.train[0].name == f"abdomen 0 48 2 {{'motion': {tool.TWICE}}}"
    assert tool.TWICE.amplitude == tuple(2 * one for one in tool.BREATHING.amplitude)
    assert tests == {"usual motion": usual.test, "twice the motion": twice.test}


def test_the_axis_test_exchanges_the_two_directions(asked):
    tool.EXPERIMENTS["axis"](tool.QUICK)
    [call] = asked
    original, permuted, protocol = call.args
    assert protocol == tool.routing_protocol(tool.QUICK), "routers that decide"
    assert (original.name, permuted.name, call.order) == ("original", "permuted", (1, 0))
    # a flat phantom takes the directions z and x
    assert str(tool.SCALES) in original.train[0].name
    exchanged = tool.SCALES.permuted((2, 1, 0))
    assert (exchanged.amplitude[0], exchanged.amplitude[2]) == (tool.SCALES.amplitude[2], tool.SCALES.amplitude[0])
    assert str(exchanged) in permuted.train[0].name
    assert str(exchanged) in permuted.test[0].name


def test_routing_is_asked_of_the_recipe_of_the_network_that_ships(asked, monkeypatch):
    loaded = []
    monkeypatch.setattr(
        tool.datasets, "load", lambda *names, **options: loaded.append((*names, options)) or [slab_pair(name=names[1])]
    )
    recipe = tool.RECIPES["abdomen-flat"]
    [(_, protocol)] = tool.EXPERIMENTS["routing"](tool.FULL)
    [call] = asked
    assert call.variants == tool.ex.ROUTING
    assert protocol.training == replace(recipe.training, steps=4000, device="cpu")
    assert (protocol.seeds, protocol.model, protocol.sizes) == ((0, 1, 2), recipe.model, recipe.sizes)
    assert loaded == [
        ("abdomen", "train", {"shape": (64, 64), "count": recipe.train_pairs}),
        ("abdomen", "test", {"shape": (64, 64), "count": 30}),
    ]
    [task] = call.args[0]
    assert (task.name, names(task.train), names(task.test)) == ("breathing", ["train"], ["test"])
    [(_, quick)] = tool.EXPERIMENTS["routing"](tool.QUICK)
    assert (quick.training.steps, loaded[-1][2]) == (2, {"shape": (24, 24), "count": 2})


def test_driving_takes_drivenmorph_apart_and_looks_at_its_forces(asked):
    [(_, protocol)] = tool.EXPERIMENTS["driving"](tool.QUICK)
    [call] = asked
    assert call.variants == tool.ex.DRIVING
    assert call.more.__name__ == "driving_measures"
    assert (protocol.model, protocol.seeds) == ("drivenmorph", (0, 1))
    assert [task.name for task in call.args[0]] == ["breathing"]
    assert tool.EXPERIMENTS["driving"](tool.FULL)[0][1].training.steps == 1000


def test_stability_compares_a_network_of_each_seed(asked):
    tool.EXPERIMENTS["stability"](tool.QUICK)
    *trained, compared = asked
    assert [(call.name, call.args[2]) for call in trained] == [("train_one", 0), ("train_one", 1)]
    assert compared.name == "seed_stability"
    assert {call.args[0].name for call in trained} == {"original"}, "those of the axis test"
    assert tool.SHARED["stability"] == "axis"
    assert len(compared.args[0]) == 2
    assert names(compared.args[1]) == names(trained[0].args[0].test)


@pytest.mark.parametrize("name", ["decisions", "growth"])
def test_routers_are_given_time_to_decide(name, asked):
    [(_, protocol)] = tool.EXPERIMENTS[name](tool.QUICK)
    [call] = asked
    task, given = call.args
    task = task[0] if name == "decisions" else task
    assert (call.name, task.name, given) == (name, "breathing", protocol)
    assert str(tool.BREATHING) in task.train[0].name
    full = tool.decisions_protocol(tool.FULL)
    assert (full.training.steps, full.seeds) == (1000, (0, 1, 2, 3, 4))
    asked_to_decide = name == "growth"
    assert (protocol.training.balance, protocol.training.information) == (
        (0.0, 0.1) if asked_to_decide else (0.01, 0.0)
    )


@pytest.mark.parametrize("data", ["abdomen", "hippocampus"])
def test_audits_are_of_the_networks_that_ship(data, asked, monkeypatch):
    loaded = []
    monkeypatch.setattr(tool, "load_model", lambda name: loaded.append(name) or "network")
    monkeypatch.setattr(tool, "demo_pairs", lambda data, scale: ([f"{data} train"], [f"{data} test"]))
    monkeypatch.setattr(
        Asked, "audit", lambda self, *args, **options: asked.append((args, options)) or [], raising=False
    )
    assert tool.EXPERIMENTS[data](tool.FULL) == []
    controls, (args, options) = asked
    assert (controls.name, controls.args) == ("control_networks", ("network",))
    assert args == ("network", [f"{data} test"])
    assert (options["single"], options["rest"]) == (True, data == "hippocampus")
    assert loaded == [data]


def test_the_contest_is_held_on_two_anatomies(asked):
    [(_, protocol)] = tool.EXPERIMENTS["contest"](tool.QUICK)
    *tasks, last = asked
    assert [(call.args[0].name, call.args[0].dims) for call in tasks] == [("abdomen, 24^2", 2), ("brain, 24^2", 2)]
    assert [call.args[0].train[0].name.split()[0] for call in tasks] == ["abdomen", "brain"]
    for call in tasks:
        assert call.args[1:] == (protocol, ("drivenmorph", "voxelmorph"))
        assert call.sizes == {"drivenmorph": {"stem_stride": 1}}
    assert protocol.seeds == (0, 1)
    assert last.args == ([{"of": 1}, {"of": 2}], "drivenmorph", ("voxelmorph",))


def test_rman_is_swept_on_large_motion(asked):
    [(_, protocol)] = tool.EXPERIMENTS["rman"](tool.QUICK)
    [call] = asked
    assert call.name == "recursion_sweep"
    assert call.args[1] is protocol
    assert str(tool.LARGE) in call.args[0].train[0].name
    assert (protocol.model, protocol.trained, protocol.recursions) == ("rman", (1, 2), (1, 2))
    full = tool.recursion_protocol(tool.FULL)
    assert (full.trained, full.recursions, full.seeds) == ((1, 2, 3, 4), (1, 2, 3, 4), (0, 1, 2))


def test_segreg_is_asked_four_questions(asked):
    outcome = tool.EXPERIMENTS["segreg"](tool.QUICK)
    labels, quality, merges, sliding = asked
    assert [finding.question for finding, _ in outcome] == ["true_labels", "quality_sweep", "sliding", "merges"]
    assert [protocol for _, protocol in outcome] == [*[labels.args[1]] * 2, sliding.args[1], labels.args[1]]
    assert quality.args == (["trained"], labels.args[0].test)
    assert quality.seeds == (0, 1)
    assert merges.args == labels.args
    assert (labels.args[1].shape, sliding.args[1].shape) == ((24, 24), (24, 24))
    full, slides = tool.region_protocol(tool.FULL.small()), tool.sliding_protocol(tool.FULL)
    assert (full.shape, full.training.steps, full.seeds, slides.shape) == ((48, 48), 600, (0, 1, 2), (64, 64))
    assert sliding.args[0].train[0].name.startswith("lung")
    assert labels.args[0].train[0].name.startswith("abdomen")
    assert sliding.args[1].groups == (tuple(range(1, 10)),)
    assert len(set(sliding.args[1].smoothness)) == 2


def test_what_needs_no_training_is_compared_on_scans_and_on_brains(asked, monkeypatch):
    monkeypatch.setattr(tool, "demo_pairs", lambda data, scale, test: ([f"{data} train"], [data] * test))
    monkeypatch.setattr(tool, "_turned_brain", lambda shape, seed: (shape, seed))
    monkeypatch.setattr(tool, "load_model", lambda name: f"network {name}")
    [(_, protocol)] = tool.EXPERIMENTS["worth"](tool.FULL)
    ((scans, tools, networks), (brains, others, same)) = asked[-1].args[0]
    assert (scans.name, scans.train, len(scans.test)) == ("hippocampus", ["hippocampus train"], 10)
    assert brains.train[0] == (tool.BRAIN_SHAPE, 0)
    assert brains.test == [(tool.BRAIN_SHAPE, seed) for seed in range(9000, 9005)]
    assert set(tools) - set(others) == {"network that ships"}
    assert tools["network that ships"] == "network hippocampus"
    assert list(others)[:2] == ["nothing", "affine"]
    assert all(name.startswith("affine") for name in list(others)[1:])
    assert networks == same == {"network of 300 steps": protocol}
    assert (protocol.training.steps, protocol.training.similarity, protocol.seeds) == (300, "lncc", (0, 1, 2))
    assert "affine, greedy" in others
    assert any(call.args == (METHODS[DEFAULT],) for call in asked)  # aligned: the default of `register`


# ---- sentences ----


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_what_is_recorded_says_what_its_rows_allow(path):
    record = json.loads(path.read_text())
    assert tool.judge(record) == record
    audits = {"abdomen": 4, "hippocampus": 3}  # of one network; their rows lack single pairs
    kinds = [[key for key in tool.SENTENCES if key in finding["rows"][0]] for finding in findings_of(record)]
    assert [len(found) for found in kinds] == ([0] * audits[path.stem] if path.stem in audits else [1] * len(kinds))


def test_every_experiment_is_recorded():
    assert [path.stem for path in RECORDED] == sorted(set(tool.EXPERIMENTS) - set(tool.PENDING))
    assert set(tool.PENDING) <= set(tool.EXPERIMENTS)


@pytest.mark.parametrize("name", ["ablation", "axis", "contest", "rman", "segreg", "stability"])
def test_judging_writes_the_sentences_anew(name, tmp_path, capsys):
    original = json.loads((tool.FOLDER / f"{name}.json").read_text())
    forged = json.loads(json.dumps(original))
    for finding in findings_of(forged):
        finding["sentence"] = "All is well."
    (tmp_path / f"{name}.json").write_text(json.dumps(forged))
    tool.main([name, "--judge", "--out", str(tmp_path)])
    assert json.loads((tmp_path / f"{name}.json").read_text()) == original
    assert findings_of(original)[0]["sentence"] in capsys.readouterr().out


def test_sentences_follow_the_rows():
    """Had all variants the Dice and the error of the first one, nothing would be told apart."""
    record = json.loads((tool.FOLDER / "ablation.json").read_text())
    assert "worse: none" not in record["sentence"].split(". ")[0]
    rows = [row | dict.fromkeys(("dice", "epe"), 0.5 + 0.1 * row["seed"]) for row in record["rows"]]
    judged = tool.judge(record | {"rows": rows})["sentence"]
    assert judged.count("better: none; worse: none") == 4
    first = {"task": "breathing", "variant": "uniform gates"}
    assert effect_between(rows, first, first | {"variant": "per direction"}).mean == 0


def test_an_audit_keeps_its_sentences():
    record = {"findings": [{"question": "q", "rows": [{"layer": "a", "load": 0.5}], "sentence": "As it was."}]}
    assert tool.judge(record) == record


# ---- the command ----


@pytest.fixture
def two(monkeypatch, tmp_path):
    """Two experiments, a folder of records that is not the committed one."""
    protocol = Protocol(TrainingConfig(steps=1), seeds=(0,))
    answers = {
        "one": [(Finding("First?", [{"load": 1}], "Yes."), protocol)],
        "two": [
            (Finding("Second?", [{"load": 2}], "No."), protocol),
            (Finding("Third?", [{"load": 3}], "."), protocol),
        ],
    }
    scales = []
    make = {name: lambda scale, name=name: scales.append((name, scale)) or answers[name] for name in answers}
    monkeypatch.setattr(tool, "EXPERIMENTS", make)
    monkeypatch.setattr(tool, "FOLDER", tmp_path / "records")
    return scales


def test_without_names_every_experiment_runs(two, tmp_path, capsys):
    tool.main(["--out", str(tmp_path / "new"), "--workers", "1"])
    assert two == [("one", tool.FULL), ("two", tool.FULL)]
    one, both = (json.loads((tmp_path / "new" / f"{name}.json").read_text()) for name in ("one", "two"))
    assert (one["question"], one["rows"], one["sentence"]) == ("First?", [{"load": 1}], "Yes.")
    assert one["protocol"]["seeds"] == [0]
    assert "findings" not in one
    assert [finding["question"] for finding in both["findings"]] == ["Second?", "Third?"]
    assert len(both["protocols"]) == 2
    assert "one, 0 s: Yes." in capsys.readouterr().out


def test_only_what_is_named_runs_and_quick_is_quick(two, tmp_path):
    tool.main(["two", "--quick", "--out", str(tmp_path / "new")])
    assert two == [("two", tool.QUICK)]
    with pytest.raises(SystemExit):
        tool.main(["three", "--out", str(tmp_path)])


@pytest.mark.parametrize("place", ["records", "./records", "other/../records"])
def test_quick_numbers_never_replace_recorded_ones(place, two, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for arguments in (["--quick"], ["--quick", "--out", place], ["--quick", "--out", str(tmp_path / place)]):
        with pytest.raises(SystemExit):
            tool.main(arguments)
        assert "must not replace recorded ones" in capsys.readouterr().err
    assert two == []
    assert not (tmp_path / "records").exists()


def test_rows_are_shown_as_they_come(capsys):
    tool.say([{"dice": 0.123456, "seed": 1, "per_pair": {"dice": [0.1]}}])
    assert capsys.readouterr().out == "{'dice': 0.123, 'seed': 1}\n"
