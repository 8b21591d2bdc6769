"""Commands let idle threads sleep, and that is worth it: counted in processor time within one run, not by a clock."""

import os
import subprocess
import sys

from moereg.cli.threads import SLEEP, let_threads_sleep

BUSY = "while True: pass"
MEASURE = """
import statistics, sys, time
import torch
from moereg.classical import demons

images = torch.rand(2, 1, 1, 20, 20, 20, generator=torch.Generator().manual_seed(0))

def processor_seconds(threads):
    torch.set_num_threads(threads)
    began = time.process_time()
    demons(*images, iterations=12, levels=1)
    return time.process_time() - began

processor_seconds(2)
pairs = [(processor_seconds(1), processor_seconds(2)) for _ in range(5)]
print(statistics.median(two / one for one, two in pairs))
"""
FIRST = """
import os, sys
from moereg import cli
assert "torch" not in sys.modules, "the choice would come too late"
cli.run_doctor = lambda options: print(os.environ["OMP_WAIT_POLICY"], "torch" in sys.modules)
cli.main(["doctor"])
"""


def python(code, environment):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def free():
    return {name: value for name, value in os.environ.items() if name not in (*SLEEP, "GOMP_SPINCOUNT")}


def test_a_second_thread_beside_a_busy_core_does_not_multiply_the_work():
    """Threads that spin take five to fifteen times the processor time of one thread here."""
    environment = free()
    let_threads_sleep(environment)
    busy = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        (ratio,) = python(MEASURE, environment)
    finally:
        busy.kill()
        busy.wait()
    assert float(ratio) < 3


def test_a_command_chooses_before_torch_is_loaded():
    assert python(FIRST, free()) == ["PASSIVE", "False"]


def test_the_user_has_the_last_word():
    environment = {"OMP_WAIT_POLICY": "ACTIVE"}
    let_threads_sleep(environment)
    assert environment == {"OMP_WAIT_POLICY": "ACTIVE", "KMP_BLOCKTIME": "0"}
