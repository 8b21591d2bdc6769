"""`make bundle`: the views' JavaScript, from the modules in js into the files that Python reads.

    js/src/explorer.mjs   ->  moereg/viz/explorer.mjs
    js/src/dragfield.mjs  ->  moereg/viz/dragfield.mjs
    js/src/live.mjs       ->  moereg/viz/live.mjs
    js/src/stills.mjs     ->  moereg/viz/stills.mjs

The bundles are committed, so that nobody needs Node.js to use them. The first line of each holds two hashes: one of
everything it was built from, one of the lines below. `python -m tools.bundle --check` (part of `make lint`, and a unit
test) compares both without Node.js; a test of the browser layer builds again and compares every byte.
"""

import hashlib
import json
import re
import sys
from pathlib import Path

from tools import node

ROOT = Path(__file__).resolve().parent.parent
VIZ = ROOT / "moereg" / "viz"
SOURCE = ROOT / "js"
NAMES = ("explorer", "dragfield", "live", "stills")
FIRST_LINE = re.compile(r"// Built by make bundle from js; sources ([0-9a-f]{64}), lines below ([0-9a-f]{64})")


class BundleError(Exception):
    """One sentence that says why there is no bundle."""


def main(arguments: list[str]) -> int:
    if arguments == ["--check"]:
        complaints = [sentence for name in NAMES if (sentence := complaint(name))]
        print("\n".join(complaints) or "make bundle: the bundles are in step with js")
        return 1 if complaints else 0
    try:
        install()
        for name in NAMES:
            (VIZ / f"{name}.mjs").write_text(build(name), encoding="utf-8")
            print(f"make bundle: {VIZ / f'{name}.mjs'}")
    except (BundleError, node.NodeMissing) as error:
        sys.exit(f"make bundle: {error}")
    return 0


def complaint(name: str) -> str:
    """What is wrong with a committed bundle, in a sentence; empty if it is in step with its sources."""
    first, _, body = (VIZ / f"{name}.mjs").read_text(encoding="utf-8").partition("\n")
    found = FIRST_LINE.fullmatch(first)
    if not found:
        return f"moereg/viz/{name}.mjs does not begin with the line that make bundle writes; run make bundle."
    if found[1] != sources_hash():
        return f"moereg/viz/{name}.mjs was built from other sources than those in js; run make bundle."
    if found[2] != _hash(body):
        return f"moereg/viz/{name}.mjs was changed by hand; change js and run make bundle."
    return ""


def sources_hash() -> str:
    """SHA-256 of all that a bundle depends on, by name; the same whatever line ends a checkout has."""
    settings = [SOURCE / name for name in ("build.mjs", "package.json", "package-lock.json")]
    modules = sorted((SOURCE / "src").rglob("*.mjs"))
    texts = {path.relative_to(SOURCE).as_posix(): path for path in (*settings, *modules)} | {"tool": Path(__file__)}
    return _hash("\0".join(f"{name}\0{path.read_text(encoding='utf-8')}" for name, path in texts.items()))


def install() -> None:
    """Put the locked packages into js/node_modules. None of their scripts is run."""
    done = node.run("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund"], SOURCE)
    if done.returncode:
        reason = (done.stderr.strip() or "no reason given").splitlines()[-1]
        raise BundleError(f"npm could not install what js/package-lock.json names ({reason}).")


def build(name: str) -> str:
    """One bundle, as it is written. `install` comes first."""
    done = node.run("node", ["build.mjs", name], SOURCE)
    if done.returncode:
        raise BundleError(f"esbuild could not bundle {name}:\n{done.stderr.strip()}")
    body = _credits() + done.stdout
    return f"// Built by make bundle from js; sources {sources_hash()}, lines below {_hash(body)}\n{body}"


def _credits() -> str:
    """Names and licences of the packages inside. MIT asks that its text comes along."""
    modules = SOURCE / "node_modules"
    versions = json.loads((SOURCE / "package.json").read_text(encoding="utf-8"))["dependencies"]
    text = (modules / "preact" / "LICENSE").read_text(encoding="utf-8").strip()
    return f"/*\nhtm {versions['htm']}, Apache License 2.0\n\npreact {versions['preact']}\n{text}\n*/\n"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
