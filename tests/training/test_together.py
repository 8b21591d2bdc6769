"""Several processes under torchrun train, go on and measure as one process does with as many pairs."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from together import CASES

from moereg.models.storage import read_header

pytestmark = [pytest.mark.processes, pytest.mark.plain_errors]

HERE = Path(__file__).parent
PATIENCE = 300  # seconds for a whole script, on a busy machine
DIES = """
import sys
from moereg.processes import joined, whole_again
with joined() as own:
    if own.rank == 1:
        print("process 1 leaves", file=sys.stderr, flush=True)
        sys.exit(3)
    whole_again([own.rank], own)
"""


def torchrun(*arguments, check=True):
    """Two processes, on a port that is free; ended with everything that they started when it takes too long."""
    return python("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *arguments, check=check)


def python(*arguments, check=True):
    """A process of one thread: phantoms are made in float32, whose rounding depends on the number of threads."""
    command = [sys.executable, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[1]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, env=environment, cwd=HERE.parents[1], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert not check or done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What one process found, and what each of two did."""
    out = tmp_path_factory.mktemp("together")
    python(HERE / "together.py", out)
    torchrun(HERE / "together.py", out)
    return {name: json.loads((out / f"{name}.json").read_text()) for name in ("1-0", "2-0", "2-1")}


@pytest.mark.parametrize("case", CASES)
def test_two_processes_are_one_with_twice_the_pairs(case, found):
    """To rounding: losses of every step, overlap, weights; whatever both see of each other's batch included."""
    one, two = found["1-0"][case], found["2-0"][case]
    close = {"rel": 1e-5, "abs": 1e-5} if case == "float32" else {"rel": 1e-12, "abs": 1e-12}
    assert len(one["loss"]) == 4
    assert two["loss"] == pytest.approx(one["loss"], **close)
    assert two["dice"][0] == pytest.approx(one["dice"][0])
    assert two["dice"][1:] == one["dice"][1:] == [None] * 3
    close = {"abs": 1e-4} if case == "float32" else {"abs": 1e-10}
    assert two["weights"] == pytest.approx(one["weights"], **close)
    assert found["2-1"][case] == two  # every process has the same network, and says the same


def test_the_first_process_alone_writes(found):
    assert found["2-0"]["files"].count("checkpoint.safetensors") == 2 * (len(CASES) + 1)  # of one process, and of two


def test_processes_go_on_and_lengthen_as_one_does(found):
    for name in found:
        assert found[name]["resumed"] == {"equal": True, "lengthened": [[2, 2]]}


def test_pairs_are_shared_and_the_table_is_the_same(found):
    assert found["2-0"]["table"] == found["2-1"]["table"]
    tables = [found[name]["table"] for name in ("1-0", "2-0")]
    names = [[pair["pair"] for pair in table["pairs"]] for table in tables]
    assert names[0] == names[1]
    assert len(names[0]) == 5
    assert tables[1]["dice"] == pytest.approx(tables[0]["dice"], abs=1e-3)  # of networks that are equal to rounding


def test_the_command_line_under_torchrun(tmp_path, capfd):
    """The whole way: train, weights, provenance; and what goes wrong in one of them is said by it."""
    train = ["-m", "moereg", "train", "shmoareg", "--data", "abdomen", "--shape", "24", "24", "--pairs", "4"]
    done = torchrun(*train, "--out", tmp_path / "two", "--steps", "2", "--device", "cpu")
    assert done.stdout == f"{tmp_path / 'two' / 'shmoareg.safetensors'}\n"  # once
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == [
        "checkpoint.safetensors",
        "run.toml",
        "shmoareg.safetensors",
    ]
    origin = json.loads(read_header(tmp_path / "two" / "shmoareg.safetensors")["provenance"])
    assert (origin["processes"], origin["pairs_of_a_step"], origin["steps"]) == (2, 2, 2)


def test_nobody_waits_for_a_process_that_has_died(tmp_path):
    (tmp_path / "dies.py").write_text(DIES)
    started = time.monotonic()
    done = torchrun(tmp_path / "dies.py", check=False)
    assert done.returncode != 0
    assert "process 1 leaves" in done.stderr  # torchrun's report names whichever process it saw end first
    assert time.monotonic() - started < PATIENCE  # and not after the half hour that a message may take
