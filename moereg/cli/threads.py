"""How idle threads wait, which decides how fast small operations are on a machine that does something else as well.

Between two parallel pieces of work OpenMP's threads spin: they ask again and again whether there is more. On an idle
machine that saves microseconds. Where another program keeps a core busy, a spinning thread takes the time that the
working one needs, at every small operation anew: Demons on two threads then take ten times as long as on one. Threads
that sleep cost next to nothing. The choice is read once, when torch is loaded, so it has to be made before.
"""

from collections.abc import MutableMapping

# GNU's runtime (torch on Linux), and that of LLVM and Intel (torch on macOS and Windows).
SLEEP = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}


def let_threads_sleep(environment: MutableMapping[str, str]) -> None:
    """Set what makes idle threads sleep, where the user has not chosen otherwise; in vain once torch is loaded."""
    for name, value in SLEEP.items():
        environment.setdefault(name, value)
