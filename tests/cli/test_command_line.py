"""The command line as a whole: every option of every command, one sentence for what is refused, exit codes."""

import errno
import runpy
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from moereg import cli, demo, doctor
from moereg.cli.options import say
from moereg.cli.trainingoptions import AUGMENTATION, SWITCHES, TRAINING

pytestmark = pytest.mark.plain_errors

# Command, arguments, what they stand for. First the least that a command needs, then all that it knows.
# Nothing said: what the file of a run or the plan of the data says.
AUGMENT = [f"augment_{name}" for name in (*AUGMENTATION, "mirror", "exchange")]
TRAIN = dict.fromkeys((*(name for name, *_ in TRAINING.values()), *SWITCHES, *AUGMENT)) | {
    **dict.fromkeys(("config", "init_weights", "shape", "pairs", "threads", "licence", "device")),
    "resume": False,
}
LEAST = [
    (["demo"], {"data": "abdomen", "out": Path("demo-out"), "steps": None, "seed": 0, "device": "auto"}),
    (
        ["train", "rman", "--data", "d", "--out", "o"],
        TRAIN | {"model": "rman", "data": "d", "out": Path("o")},
    ),
    (
        ["register", "m", "f", "--out", "o"],
        {
            "moving": Path("m"),
            "fixed": Path("f"),
            "data": None,
            "weights": None,
            "method": None,
            "init": "auto",
            "refine": 0,
            "similarity": None,
            "mask": None,
            "labels": None,
            "fixed_labels": None,
            "inverse": False,
            "jacobian": False,
            "no_report": False,
            "out": Path("o"),
            "device": "auto",
        },
    ),
    (["apply", "f", "i", "--out", "o"], {"field": Path("f"), "image": Path("i"), "labels": False, "out": Path("o")}),
    (["compose", "a", "b", "--out", "o"], {"first": Path("a"), "second": Path("b"), "out": Path("o")}),
    (["invert", "f", "--out", "o"], {"field": Path("f"), "like": None, "out": Path("o")}),
    (
        ["evaluate", "--data", "d"],
        {"weights": [], "method": [], "data": "d", "pairs": None, "refine": 0, "json": None, "device": "auto"},
    ),
    (
        ["explore", "--weights", "w", "--data", "d", "--out", "o"],
        {"weights": "w", "data": "d", "pair": 0, "out": Path("o"), "device": "auto"},
    ),
    (["describe", "w"], {"weights": "w"}),
    (["doctor"], {}),
]
MOST = [
    (
        ["demo", "--data", "lung", "--out", "o", "--steps", "7", "--seed", "3", "--device", "cpu"],
        {"data": "lung", "out": Path("o"), "steps": 7, "seed": 3, "device": "cpu"},
    ),
    (
        ["train", "rman", "--data", "d", "--out", "o", "--steps", "7", "--resume", "--seed", "3", "--device", "cpu"],
        TRAIN
        | {"model": "rman", "data": "d", "out": Path("o"), "steps": 7, "resume": True, "seed": 3, "device": "cpu"},
    ),
    (
        [
            "evaluate",
            "--weights",
            "a",
            "b",
            "--method",
            "c",
            "d",
            "--data",
            "d",
            "--pairs",
            "4",
            "--refine",
            "9",
            "--json",
            "j",
            "--device",
            "cpu",
        ],
        {
            "weights": ["a", "b"],
            "method": ["c", "d"],
            "data": "d",
            "pairs": 4,
            "refine": 9,
            "json": Path("j"),
            "device": "cpu",
        },
    ),
    (
        [
            "register",
            "m",
            "f",
            "--out",
            "o",
            "--method",
            "demons-log",
            "--init",
            "rigid",
            "--refine",
            "3",
            "--similarity",
            "mse",
            "--mask",
            "k",
            "--labels",
            "l",
            "--fixed-labels",
            "g",
            "--inverse",
            "--jacobian",
            "--no-report",
            "--device",
            "cpu",
        ],
        {
            "moving": Path("m"),
            "fixed": Path("f"),
            "data": None,
            "weights": None,
            "method": "demons-log",
            "init": "rigid",
            "refine": 3,
            "similarity": "mse",
            "mask": Path("k"),
            "labels": Path("l"),
            "fixed_labels": Path("g"),
            "inverse": True,
            "jacobian": True,
            "no_report": True,
            "out": Path("o"),
            "device": "cpu",
        },
    ),
    (
        ["explore", "--weights", "w", "--data", "d", "--pair", "2", "--out", "o", "--device", "cpu"],
        {"weights": "w", "data": "d", "pair": 2, "out": Path("o"), "device": "cpu"},
    ),
]


@pytest.mark.parametrize(("arguments", "meant"), [*LEAST, *MOST])
def test_options(arguments, meant):
    options = vars(cli.parser().parse_args(arguments))
    run = options.pop("run")
    assert options == {"command": arguments[0]} | meant
    assert run is getattr(cli, f"run_{arguments[0]}")


# What a file of `train --config` may hold is asked for by a sentence of its own: tests/cli/test_command_train.py.
# So is what a table of pairs is in place of, two files: tests/apply/test_many.py.
@pytest.mark.parametrize("command", [least[0] for least in LEAST if least[0][0] not in ("train", "register")])
def test_nothing_that_is_needed_may_be_left_out(command, capsys):
    """Each argument in turn; a flag goes with its value."""
    named = [n for n, word in enumerate(command) if word.startswith("--")]
    first = named[0] if named else len(command)
    for place in [*range(first), *named]:
        width = 2 if place in named else 1
        with pytest.raises(SystemExit) as ended:
            cli.main(command[:place] + command[place + width :])
        assert ended.value.code == 2
        assert capsys.readouterr().err.startswith("usage: moereg")
        if len(command) == 1:
            break


def test_help_names_every_command_with_a_line_of_its_own(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for command in ("demo", "train", "register", "apply", "compose", "invert", "evaluate", "explore", "doctor"):
        assert f"\n    {command} " in shown
    assert shown.startswith("usage: moereg [-h] COMMAND")
    assert "say what is installed" in shown
    with pytest.raises(SystemExit):
        cli.main(["doctor", "--help"])
    assert "say what is installed" in capsys.readouterr().out


@pytest.mark.parametrize("command", [least[0][0] for least in LEAST])
def test_every_option_is_explained(command):
    top = cli.parser()
    [commands] = [action.choices for action in top._actions if action.choices]
    assert {action.dest for action in commands[command]._actions if not action.help} == set()
    assert top.description == "Deformable image registration with mixture-of-experts."


@pytest.mark.parametrize("error", [ValueError, TypeError, FileNotFoundError, OSError])
def test_bad_input_is_one_sentence_on_stderr_and_code_two(error, monkeypatch, capsys):
    def fail(options):
        raise error("k must be 2, got 3.")

    monkeypatch.setattr(cli, "run_doctor", fail)
    assert cli.main(["doctor"]) == 2
    assert capsys.readouterr() == ("", "moereg doctor: k must be 2, got 3.\n")


def test_an_error_of_the_system_names_the_file(monkeypatch, capsys):
    def fail(options):
        raise OSError(errno.ENOSPC, "No space left on device", "out/checkpoint.safetensors")

    monkeypatch.setattr(cli, "run_doctor", fail)
    assert cli.main(["doctor"]) == 2
    said = "moereg doctor: out/checkpoint.safetensors cannot be used: no space left on device.\n"
    assert capsys.readouterr() == ("", said)


def test_a_sentence_is_one_line(monkeypatch, capsys):
    def fail(options):
        raise ValueError("sizes\n  and more")

    monkeypatch.setattr(cli, "run_doctor", fail)
    cli.main(["doctor"])
    assert capsys.readouterr().err == "moereg doctor: sizes and more\n"


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (ZeroDivisionError("by zero"), "met what it did not expect (ZeroDivisionError)"),
        (MemoryError(), "ran out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "ran out of memory"),
        (torch.OutOfMemoryError("CUDA"), "ran out of memory"),
    ],
)
def test_what_nobody_foresaw_is_one_sentence_with_the_place_of_a_log(error, what, monkeypatch, capsys, tmp_path):
    def fail(options):
        raise error

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(cli, "run_doctor", fail)
    assert cli.main(["doctor"]) == 1
    [log] = tmp_path.iterdir()
    assert capsys.readouterr() == ("", f"moereg doctor: {what}; {log} says where.\n")
    text = log.read_text(encoding="utf-8")
    assert text.startswith("moereg doctor\nPython 3.")
    for part in ("torch", "Traceback", "raise error", type(error).__name__):
        assert part in text


def test_a_reader_that_leaves_is_no_error(monkeypatch, capsys):
    def fail(options):
        raise BrokenPipeError

    monkeypatch.setattr(cli, "run_doctor", fail)
    assert cli.main(["doctor"]) == 141
    assert capsys.readouterr() == ("", "")


def test_an_interruption_says_so(monkeypatch, capsys):
    def stop(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run_doctor", stop)
    assert cli.main(["doctor"]) == 130
    assert capsys.readouterr() == ("", "\nstopped\n")


def test_as_a_script_the_exit_code_is_that_of_the_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["moereg", "evaluate", "--data", "abdomen", "--json", "x"])
    monkeypatch.delitem(sys.modules, "moereg.cli")
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("moereg.cli", run_name="__main__")
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("moereg evaluate: --weights or --method must name something to evaluate")


# ---- commands that hand on ----


@pytest.fixture
def handed(monkeypatch):
    """What `moereg demo` hands to `demo.run`."""
    calls = []

    def run(out, **options):
        calls.append((out, options))
        return {"a": "result"}

    monkeypatch.setattr(demo, "run", run)
    monkeypatch.setattr(demo, "as_text", lambda result: f"text of {result}")
    return calls


def test_demo_hands_its_options_on_and_prints_the_table(handed, capsys, tmp_path):
    arguments = ["--data", "hippocampus", "--out", str(tmp_path), "--steps", "7", "--seed", "3", "--device", "cpu"]
    assert cli.main(["demo", *arguments]) == 0
    [(out, options)] = handed
    plan = options.pop("plan")
    assert (out, options) == (tmp_path, {"data": "hippocampus", "seed": 3, "tell": say})
    assert (plan.training.steps, plan.training.device) == (7, "cpu")
    assert (plan.training.similarity, plan.training.labels, plan.test_pairs) == ("mse", 1.0, 12)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "text of {'a': 'result'}"
    assert lines[-1].startswith(f"{tmp_path / 'report.html'} ")


def test_demo_without_options_takes_the_plan(handed):
    assert cli.main(["demo", "--device", "cpu"]) == 0
    [(out, options)] = handed
    assert options == {"data": "abdomen", "plan": demo.plan_for("abdomen", "cpu"), "seed": 0, "tell": say}
    assert out == Path("demo-out")


def test_doctor_prints_its_report(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "report", lambda: "all is well")
    assert cli.main(["doctor"]) == 0
    assert capsys.readouterr().out == "all is well\n"


# ---- refusals ----


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train", "vit", "--data", "abdomen", "--out", "x"], "name must be one of"),
        (["train", "shmoareg", "--data", "liver", "--out", "x"], "data must be one of"),
        (["evaluate", "--data", "abdomen", "--json", "x"], "--weights or --method must name something"),
        (
            ["evaluate", "--method", "syn", "--data", "abdomen", "--json", "x"],
            "--method must be among identity, demons-",
        ),
        (
            ["evaluate", "--method", "identity", "--data", "abdomen", "--refine", "-1"],
            "--refine must be zero or more, got -1",
        ),
        (
            ["register", "m.nii", "f.nii", "--weights", "w", "--out", "x", "--refine", "-2"],
            "--refine must be zero or more, got -2",
        ),
        (["explore", "--weights", "none.safetensors", "--data", "abdomen", "--out", "x"], "does not exist"),
        (["explore", "--weights", "spleen", "--data", "abdomen", "--out", "x"], "weights must be a file or one of"),
        (["demo", "--device", "tpu"], "device must be one of"),
        (["demo", "--steps", "0"], "steps must be a positive integer"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(arguments, sentence, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"moereg {arguments[0]}: ")
    assert sentence in error
    assert error.count("\n") == 1
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("command", [least[0] for least in LEAST if "device" in least[1]], ids=lambda c: c[0])
def test_a_device_that_is_not_there_is_refused(command, table, weights, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    real = {"w": str(weights("shift")), "d": str(table), "m": str(table.parent / "moving1.nii.gz")}
    real["f"] = real["m"]
    before = sorted(tmp_path.iterdir())
    method = ["--method", "identity"] if command[0] == "evaluate" else []
    assert cli.main([*(real.get(word, word) for word in command), *method, "--device", "cuda"]) == 2
    assert "device must be one that this machine has, got 'cuda'; 'auto' picks one." in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before
