"""What is mutated, and where the answers are kept: `[tool.mutants]` of pyproject.toml."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from tools import layers

UNIT = layers.UNIT[len(layers.PYTEST) :]  # which tests count, in one process
OPTIONS = ["-q", "-p", "no:cacheprovider", *UNIT]


@dataclass(frozen=True)
class Project:
    """A repository with its mutation settings."""

    root: Path
    package: str
    exclude: tuple[str, ...]  # paths that are not mutated
    patience: float  # seconds on top of five times what the tests usually take, before a mutant counts as endless
    preload: tuple[str, ...]  # modules imported once, before any fork
    groups: tuple[dict, ...]  # name, target in percent, paths (prefixes); the first that fits counts

    @classmethod
    def read(cls, root: Path) -> "Project":
        own = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["mutants"]
        lists = {name: tuple(own.get(name, ())) for name in ("exclude", "preload", "groups")}
        return cls(root.resolve(), own["package"], patience=own.get("patience", 10), **lists)

    @property
    def store(self) -> Path:
        """Coverage, results and working copies, outside git."""
        return self.root / ".mutants"

    def modules(self, paths: list[str] | None = None) -> list[str]:
        """Modules under `paths`, by default the whole package, without the excluded ones."""
        found = set()
        for path in paths or [self.package]:
            place = self.root / path
            files = place.rglob("*.py") if place.is_dir() else [place]
            if not place.exists():
                raise FileNotFoundError(f"no such module or folder: {path}")
            found |= {file.relative_to(self.root).as_posix() for file in files}
        return sorted(name for name in found if not name.startswith(self.exclude))

    def mirrored(self, module: str) -> str:
        """`moereg/nn/moa.py` is tested first by `tests/nn/test_moa.py`."""
        inner = Path(module).relative_to(self.package)
        return (Path("tests") / inner.parent / f"test_{inner.name}").as_posix()

    def group(self, module: str) -> dict:
        fits = (group for group in self.groups if module.startswith(tuple(group["paths"])))
        return next(fits, {"name": "other", "target": 90})
