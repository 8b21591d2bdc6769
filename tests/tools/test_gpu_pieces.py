"""`tools/gpu.py` rehearsed on the CPU: every piece runs, tells the truth, stops in time and goes on."""

import json
import math
import time
from dataclasses import replace

import pytest
import torch

from moereg.models import build, build_for
from moereg.training import TrainingConfig
from moereg.training.loss import collate
from tools import gpu as tool

CPU = torch.device("cpu")


@pytest.fixture
def bench(tmp_path):
    return tool.Bench(CPU, tmp_path / "work", quick=True)


@pytest.fixture
def pieces(monkeypatch):
    """Two pieces in the place of the real ones; the second needs three calls."""
    calls = []

    def slow(bench):
        calls.append(bench)
        if len(calls) < 3:
            raise tool.Later(f"step {len(calls)} of 3")
        return [{"x": 2}]

    monkeypatch.setattr(tool, "PIECES", {"one": lambda bench: [{"x": 1}], "slow": slow})
    return calls


def test_pieces_that_are_finished_are_not_done_again(pieces, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["--quick", "--out", str(out), "--work", str(tmp_path)]
    assert tool.main(command) == 1
    record = json.loads((out / "one.json").read_text())
    assert (record["piece"], record["rows"], record["machine"]["device"]) == ("one", [{"x": 1}], "cpu")
    assert "slow: step 1 of 3, goes on at the next call\nnot finished: slow\n" in capsys.readouterr().out
    (out / "one.json").write_text("as it was")
    assert tool.main([*command, "slow"]) == 1
    assert tool.main(command) == 0
    assert capsys.readouterr().out.endswith("all finished\n")
    assert (out / "one.json").read_text() == "as it was"
    assert json.loads((out / "slow.json").read_text())["rows"] == [{"x": 2}]
    assert pieces[0].quick
    assert pieces[0].work == tmp_path


def test_nothing_is_begun_when_time_is_over(pieces, tmp_path, capsys):
    assert tool.main(["--quick", "--out", str(tmp_path / "out"), "--seconds", "-1"]) == 1
    assert capsys.readouterr().out == "not finished: one, slow\n"
    assert not pieces


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--quick"], "--quick needs --out"), (["--out", "somewhere"], "there is no CUDA device here")],
)
def test_what_is_refused(options, words, capsys, monkeypatch):
    monkeypatch.setattr(tool, "best_device", lambda: CPU)
    with pytest.raises(SystemExit):
        tool.main(options)
    assert words in capsys.readouterr().err


def test_this_device_is_compared_with_float64(bench, monkeypatch):
    monkeypatch.setattr(tool, "NETWORKS", ("drivenmorph",))
    rows = tool.equal(bench)
    assert [(row["model"], row["device"]) for row in rows] == [("drivenmorph", "cpu")]
    for row in rows:
        assert 0 < row["displacement"] < 1e-3 * max(row["largest displacement"], 1)
        assert 0 < row["gradient"] < 1e-2 * row["largest gradient"]
        assert row["share beyond 1e-3"] == 0


def test_a_difference_is_seen(bench, monkeypatch):
    monkeypatch.setattr(tool, "NETWORKS", ("shmoareg",))
    real = tool._values

    def wrong(model, pair, place, dtype):
        values = real(model, pair, place, dtype)
        return values | ({"displacement": values["displacement"] + 0.5} if dtype == torch.float32 else {})

    monkeypatch.setattr(tool, "_values", wrong)
    (row,) = tool.equal(bench)
    assert row["displacement"] == pytest.approx(0.5, abs=1e-3)
    assert row["share beyond 1e-3"] == 1


def test_both_precisions_train(bench):
    rows = tool.bf16(bench)
    assert [row["precision"] for row in rows] == ["32-true", "bf16-mixed"]
    assert all(math.isfinite(row["epe"]) and row["seconds per step"] > 0 for row in rows)
    assert rows[0]["epe"] != rows[1]["epe"]


def test_compiled_is_compared_with_plain(bench, monkeypatch):
    """tests/test_compile.py compiles for real; here what comes back is off by two voxels."""
    asked = []

    def off_by_two(model, backend):
        asked.append(backend)
        return lambda *images: replace(result := model(*images), displacement=result.displacement + 2)

    monkeypatch.setattr(torch, "compile", off_by_two)
    (row,) = tool.compiled(bench)
    assert asked == ["eager"]
    assert row["difference"] == pytest.approx(2)
    assert min(row["seconds"], row["seconds compiled"]) > 0


def test_sizes_of_three_networks(bench, monkeypatch):
    built = []
    monkeypatch.setattr(tool, "build", lambda name, **sizes: built.append((name, sizes)) or build("shmoareg", dims=3))
    rows = tool.sizes(bench)
    assert built == [
        ("shmoareg", {"dims": 3}),
        ("shmoareg", {"dims": 3, "stem_stride": 1}),
        ("voxelmorph", {"dims": 3}),
    ]
    assert [row["model"].split(",")[0] for row in rows] == ["SHMoAReg", "SHMoAReg", "VoxelMorph (MONAI)"]
    assert all(row["shape"] == [16, 16, 16] and row["seconds"] > 0 and row["peak GiB"] is None for row in rows)

    def full_memory(*arguments):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(tool.Bench, "step", full_memory)
    cost = tool._cost(bench, "shmoareg", {}, tool.SMALL[0], TrainingConfig())
    assert cost == {"seconds": None, "peak GiB": None}


def test_a_step_is_a_training_step(bench):
    pair = bench.pair(tool.SMALL[0])
    model = build_for("shmoareg", [pair])
    loss = bench.step(model, collate([pair], CPU), TrainingConfig())
    assert not loss.requires_grad
    assert all(p.grad is not None for name, p in model.named_parameters() if "router" not in name)


def test_seconds_are_a_median_without_the_first():
    waits = iter((0.2, 0.0, 0.04, 0.01))
    bench = tool.Bench(CPU, None)
    assert 0.009 < bench.seconds(lambda: time.sleep(next(waits)), repeats=3) < 0.035


def test_a_long_training_stops_behind_a_checkpoint_and_goes_on(bench, tmp_path):
    late = tool.Bench(CPU, tmp_path / "late", deadline=time.monotonic() - 1, quick=True)
    with pytest.raises(tool.Later, match="step 0 of 4"):
        tool.full(late)
    (row,) = tool.full(bench)
    assert row["steps"] == 4
    assert 0 < row["dice"] <= 1
    assert (bench.work / "full" / "checkpoint.safetensors").exists()
