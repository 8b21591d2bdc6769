"""The file of a run: what is written is what is read, and what means nothing is refused by its name."""

import tomllib
from dataclasses import asdict, replace

import pytest

from moereg.data import Augmentation
from moereg.training import TrainingConfig
from moereg.training.checkpoint import as_json
from moereg.training.configfile import Run, read_run, write_run

pytestmark = pytest.mark.plain_errors

ODD = 'a "quoted"\\ name\n\x7f\u00e9\U0001f600'


def test_what_is_written_is_what_is_read(tmp_path):
    config = TrainingConfig(
        steps=7, warmup=3, checkpointing=True, augmentation=Augmentation(mirror=(0,), exchange=((1, 2),))
    )
    run = Run(
        model="shmoareg",
        data=ODD,
        shape=[24, 24],
        licence="CC-BY 4.0",
        training=as_json(config),
        sizes={"widths": [4, 6], "gate": "soft", "backbone_sizes": {"dims": 2, "odd key": 1.5e-7}, "empty": {}},
    )
    path = write_run(tmp_path / "new" / "run.toml", run)
    found = read_run(path)
    assert found.config() == config
    for name in ("model", "data", "shape", "licence", "sizes", "pairs", "init_weights"):
        assert getattr(found, name) == getattr(run, name)
    text = path.read_text()
    assert text.startswith("# What `moereg train` was asked for.")
    assert "\n[training.augmentation]\n" in text
    assert "pairs =" not in text
    assert tomllib.loads(text)["training"]["checkpointing"] is True


def test_what_is_left_out_is_that_of_the_base(tmp_path):
    (tmp_path / "run.toml").write_text('model = "rman"\n[training]\nsteps = 9\n')
    base = TrainingConfig(similarity="mse", augmentation=Augmentation(turn=3.0))
    assert read_run(tmp_path / "run.toml").config(base) == replace(base, steps=9)
    assert asdict(Run().config()) == asdict(TrainingConfig())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("modle = 'x'", r"run.toml must have keys among model, .*, got modle; is model meant\?"),
        ("[training]\nsmoothnes = 1", r"got training.smoothnes; is training.smoothness meant\?"),
        ("[training]\nzzz = 1", r"must have keys among steps, .*, got training.zzz$"),
        (
            "[training.augmentation]\nturns = 1",
            r"got training.augmentation.turns; is training.augmentation.turn meant\?",
        ),
        ("model = 3", "model must be a text, got 3"),
        ("pairs = true", "pairs must be a whole number, got True"),
        ("shape = 24", "shape must be a list, got 24"),
        ("training = 1", "training must be a table, got 1"),
        ("[training]\naugmentation = 1", "training.augmentation must be a table, got 1"),
        ("steps = ", "run.toml must be TOML, but it cannot be read as such"),
        ("a = " + "[" * 5000, "run.toml must be TOML, but it cannot be read as such"),
    ],
)
def test_what_cannot_be_is_refused_by_name(text, sentence, tmp_path):
    (tmp_path / "run.toml").write_text(text)
    with pytest.raises(ValueError, match=sentence):
        read_run(tmp_path / "run.toml")


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.toml must be the file of a run, but there is no such file"):
        read_run(tmp_path / "none.toml")
    with pytest.raises(FileNotFoundError, match="must be the file of a run, but it is none"):
        read_run(tmp_path)
    (tmp_path / "latin.toml").write_bytes("licence = 'é'".encode("latin-1"))
    with pytest.raises(ValueError, match="latin.toml must be a text in UTF-8, but its byte 12 is none"):
        read_run(tmp_path / "latin.toml")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"steps": "many"}, "steps must be a positive integer, got 'many'"),
        ({"smoothness": "a"}, "smoothness must be zero or more, got 'a'"),
        ({"smoothness": True}, "smoothness must be zero or more, got True"),
        ({"seed": "x"}, "seed must be a whole number"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"similarity": 3}, "similarity must be one of 'lncc', 'mse', 'mi'"),
        ({"schedule": "linear"}, "schedule must be one of 'cosine', 'constant', got 'linear'"),
        ({"checkpointing": 1}, "checkpointing must be true or false, got 1"),
        ({"compile": "no"}, "compile must be true or false, got 'no'"),
        ({"warmup": -1}, "warmup must be a whole number of steps from zero on, or none, got -1"),
        ({"average": 1}, "average must be a decay from zero on, below one, got 1"),
        ({"average": "0.9"}, "average must be a decay from zero on, below one, got '0.9'"),
        ({"augmentation": 2}, "augmentation must be an Augmentation, got int"),
    ],
)
def test_options_of_another_kind_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        Run(training=options).config()
