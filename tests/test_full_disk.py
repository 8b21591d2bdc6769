"""A disk that is full: one sentence, code 2, and what was there before stays as it was.

The system itself refuses to let files grow (`RLIMIT_FSIZE`), in the middle of whoever writes, or says that nothing is
left (`ENOSPC`) where a name is to be exchanged.
"""

import errno
import hashlib
import os
import resource
import shutil
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from moereg import cli, demo, models
from moereg.apply import page
from moereg.data import publicsets, save_displacement, save_volume
from moereg.files import write_json_whole, write_text_whole
from moereg.models import save_weights
from moereg.training import TrainingConfig
from moereg.viz import payload
from moereg.viz.report import write_report
from tests.oracle_models import Shift, enter

pytestmark = pytest.mark.plain_errors
SHAPE = (14, 13, 12)
NOISE = torch.rand(SHAPE, generator=torch.Generator().manual_seed(0))


@contextmanager
def full_after(size: int):
    """No file can become longer than `size` bytes; the rest of a longer write fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


WRITERS = {
    "x.txt": lambda path: write_text_whole(path, "long " * 1000),
    "x.json": lambda path: write_json_whole(path, {"numbers": list(range(2000))}),
    "x.html": lambda path: write_report(path, title="a page"),
    "x.nii": lambda path: save_volume(path, NOISE, np.eye(4)),
    "x.nii.gz": lambda path: save_volume(path, NOISE, np.eye(4)),
    "field.nii.gz": lambda path: save_displacement(path, NOISE.expand(3, *SHAPE), np.eye(4)),
    "x.safetensors": lambda path: save_weights(path, models.build("shift")),
}


@pytest.mark.parametrize(("name", "write"), WRITERS.items(), ids=WRITERS.keys())
def test_a_writer_leaves_the_old_file(name, write, tmp_path, monkeypatch):
    enter(monkeypatch, Shift)
    (tmp_path / name).write_text("as it was")
    with full_after(100), pytest.raises(OSError, match=r"(?i)too large|must be written whole") as refused:
        write(tmp_path / name)
    assert "\n" not in str(refused.value)
    assert (tmp_path / name).read_text() == "as it was"
    assert [path.name for path in tmp_path.iterdir()] == [name]
    write(tmp_path / name)
    assert (tmp_path / name).stat().st_size > 100


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Bytes of a public set in miniature."""
    card, folder = publicsets.CARDS["hippocampus"], tmp_path_factory.mktemp("set")
    for number in range(1, 21):
        image = folder / card.folders[0] / card.layouts[0].images.format(subject=f"hippocampus_{number:03d}", phase="")
        for path, data in ((image, NOISE), (card.layouts[0].labels_of(folder / card.folders[0], image), NOISE > 0.5)):
            path.parent.mkdir(parents=True, exist_ok=True)
            save_volume(path, data.float() if path == image else data.long(), np.eye(4))
    return Path(shutil.make_archive(str(folder / "set"), "tar", folder, card.folders[0])).read_bytes()


@pytest.fixture
def kit(tmp_path, monkeypatch, archive):
    """Two scans, weights, a table, an archive, and a demo of one step."""
    enter(monkeypatch, Shift)
    monkeypatch.setattr(payload, "_poster", lambda pair, result: None)
    monkeypatch.setattr(page, "clinical_pictures", lambda *images: [])
    save_volume(tmp_path / "a.nii", NOISE, np.eye(4))
    save_volume(tmp_path / "b.nii", NOISE.flip(0), np.eye(4))
    save_displacement(tmp_path / "f.nii", 0 * NOISE.expand(3, *SHAPE), np.eye(4))
    save_weights(tmp_path / "w.safetensors", models.build("shift"))
    (tmp_path / "pairs.csv").write_text("moving,fixed\na.nii,b.nii\n")
    plan = demo.DemoPlan((16, 16, 16), 1, 1, TrainingConfig(steps=1, device="cpu"), {})
    monkeypatch.setattr(demo, "plan_for", lambda data, device: plan)
    monkeypatch.setattr(demo, "build", lambda name, **sizes: models.build("shift"))
    (tmp_path / "set.tar").write_bytes(archive)
    card = publicsets.CARDS["hippocampus"]
    monkeypatch.setitem(publicsets.CARDS, card.name, replace(card, md5=hashlib.md5(archive).hexdigest()))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "out"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


COMMANDS = (
    "demo --steps 1 --device cpu --out out",
    "explore --weights w.safetensors --data pairs.csv --device cpu --out out/page.html",
    "data get hippocampus --archive set.tar --to out",
    "train shift --data pairs.csv --steps 1 --device cpu --out out",
    "evaluate --method identity --data pairs.csv --json out/numbers.json",
    "register a.nii b.nii --method identity --init none --no-report --out out",
    "apply f.nii a.nii --out out/moved.nii",
    "compose f.nii f.nii --out out/both.nii.gz",
    "invert f.nii --out out/back.nii",
)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.split()[0])
@pytest.mark.parametrize("kind", ["too long", "no space"])
def test_a_command_says_so_in_one_sentence(command, kind, kit, monkeypatch, capsys):
    before = {path.name: path.read_bytes() for path in kit.iterdir()}
    if kind == "too long":
        with full_after(100):
            code = cli.main(command.split())
    else:

        def refuse(source, target):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

        monkeypatch.setattr(os, "replace", refuse)
        code = cli.main(command.split())
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 2
    assert said.startswith(f"moereg {command.split()[0]}: ")
    assert said.endswith(".")
    assert any(words in said.lower() for words in ("too large", "no space left"))
    assert {path.name: path.read_bytes() for path in kit.iterdir() if path.is_file()} == before
    assert [path for path in (kit / "out").rglob("*") if path.is_file()] == []
