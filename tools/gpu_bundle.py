"""`make gpu-bundle`: what the library needs besides torch, as wheels, for a GPU machine without a network.

python -m tools.gpu_bundle                                  here, with a network
pip install --no-index --no-deps --find-links build/gpu-bundle build/gpu-bundle/*.whl      there
make gpu                                                    there: tools/gpu.py with that machine's own torch
"""

import argparse
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ITS_OWN = ("torch",)  # the machine's, made for its GPU; what only torch needs stays away as well
UNUSED = ("simpleitk",)  # large, and aligns files alone


def needed(package: str = "moereg") -> list[str]:
    """Names of everything that a package needs, directly or not, as installed here; without `ITS_OWN` and `UNUSED`."""
    found: set[str] = set()
    waiting = [package]
    while waiting:
        for line in metadata.requires(waiting.pop()) or ():
            name = re.match(r"[\w.-]+", line)
            if name is None or "extra ==" in line:
                continue
            canonical = re.sub(r"[-_.]+", "-", name[0]).lower()
            if canonical not in {*found, *ITS_OWN, *UNUSED} and _is_installed(canonical):
                found.add(canonical)
                waiting.append(canonical)
    return sorted(found)


def _is_installed(name: str) -> bool:
    """Requirements of other systems are not."""
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "gpu-bundle")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    pinned = [f"{name}=={metadata.version(name)}" for name in needed()]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "-d", str(options.out)]
    return subprocess.run([*command, *pinned], check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
