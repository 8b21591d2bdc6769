"""Mutation testing: change the library in one place, run the tests that execute that place, and see whether any fails.

`python -m tools.mutants moereg/fields.py` or `make mutants`; settings stand in `pyproject.toml` under `[tool.mutants]`.

The mutations are mutmut's. The runner is our own, since mutmut's copies of functions leave out decorated ones and do
not pass shape-typed imports or `torch.compile`:

1. `sources` lists the mutants of a module,
2. `covered` records which test executes which line, and chooses the tests of a mutant,
3. `running` forks one process per mutant from a process that has everything imported,
4. `report` counts, and writes tests/mutants.md.

A mutant counts as killed by the unit layer alone (`tools/layers.py`), by tests that run in pytest's own process.
"""
