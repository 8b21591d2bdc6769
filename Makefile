# Every target works first, in a fresh clone: what it needs is set up into .venv before it runs (tools/venv.sh).
SHELL := /bin/bash
export PYTHON

BIN := .venv/bin
ALL := notebooks test book brain

.DEFAULT_GOAL := help
.PHONY: help demo lab test bench lint format bundle notebooks experiments book constraints clean

help:
	@echo 'make demo       train on phantoms, write demo-out/report.html'
	@echo 'make lab        open the first notebook in JupyterLab'
	@echo 'make test       style, unit tests, notebooks, book, browser'
	@echo 'make book       build the site into book/_build/html'
	@echo 'make bundle     build the views that pages and notebooks show, from js'
	@echo 'make notebooks  execute notebooks/*.py and write the paired .ipynb'
	@echo 'make experiments  train the variants that chapter 09 compares (an hour)'
	@echo 'make bench      measure speed'
	@echo 'make lint       ruff, bundles in step with their sources; make format: let ruff rewrite'

demo:
	@tools/venv.sh
	$(BIN)/moereg demo --out demo-out

lab:
	@tools/venv.sh notebooks
	$(BIN)/python -m jupyterlab notebooks/00_tour.ipynb

test:
	@tools/venv.sh $(ALL)
	@$(BIN)/python tools/layers.py

bench:
	@tools/venv.sh $(ALL)
	$(BIN)/python -m pytest tests/bench

lint:
	@tools/venv.sh $(ALL)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m tools.bundle --check

format:
	@tools/venv.sh $(ALL)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bundle:
	@tools/venv.sh $(ALL)
	$(BIN)/python -m tools.bundle

experiments:
	@tools/venv.sh $(ALL)
	$(BIN)/python tools/experiments.py

notebooks:
	@tools/venv.sh $(ALL)
	$(BIN)/python tools/notebooks.py

book:
	@tools/venv.sh $(ALL)
	$(BIN)/python -m book.build

# After trying newer versions in .venv: make them the tested set.
constraints:
	@tools/venv.sh $(ALL)
	{ head -n 1 constraints.txt; $(BIN)/python -m pip freeze --exclude-editable --exclude moereg | sed 's/+cpu$$//'; } > constraints.new
	mv constraints.new constraints.txt

clean:
	rm -rf demo-out book/_build book/_work build dist .pytest_cache .ruff_cache
