# Every target works first, in a fresh clone: what it needs is set up into .venv before it runs (tools/venv.sh).
SHELL := /bin/bash
export PYTHON

BIN := .venv/bin
ALL := notebooks test book brain compare

.DEFAULT_GOAL := help
.PHONY: help demo lab test mutants mutants-all bench compare lint course-check snapshots format bundle notebooks student slides experiments weights onnx gpu gpu-bundle book constraints clean

help:
	@echo 'make demo       train on phantoms, write demo-out/report.html'
	@echo 'make lab        open the first notebook in JupyterLab'
	@echo 'make test       style, unit tests, notebooks, book, browser'
	@echo 'make mutants    which changes of the lines you changed does no test notice? make mutants-all: of the library'
	@echo 'make book       build the site into book/_build/html'
	@echo 'make bundle     build the views that pages and notebooks show, from js'
	@echo 'make notebooks  execute notebooks/*.py and write the paired .ipynb'
	@echo 'make course-check  the form of the chapters: lengths, prompts, aims, numbers in prose, figures'
	@echo 'make student    the same with stubs in place of solutions, into build/student'
	@echo 'make slides     every chapter as slides for the projector, HTML and PDF, into build/slides'
	@echo 'make experiments  the trained experiments of the course, a process for each core (hours; goes on where it was broken off)'
	@echo 'make weights    train the networks of data/weights again (hours; goes on where it was broken off)'
	@echo 'make onnx       the network of the site as ONNX, after its weights changed'
	@echo 'make gpu        what only a GPU shows, in pieces, with the Python that has its torch; make gpu-bundle: the wheels it lacks'
	@echo 'make bench      measure speed'
	@echo 'make compare    all methods, every measure, on the same pairs (a quarter of an hour on two cores)'
	@echo 'make lint       ruff, order of imports, types, bundles in step with their sources; make format: let ruff rewrite'

demo:
	@tools/venv.sh
	$(BIN)/moereg demo --out demo-out

lab:
	@tools/venv.sh notebooks
	$(BIN)/python -m jupyterlab notebooks/00_tour.ipynb

test:
	@tools/venv.sh $(ALL)
	@$(BIN)/python tools/layers.py

mutants:
	@tools/venv.sh $(ALL)
	$(BIN)/python -m tools.mutants --changed

mutants-all:
	@tools/venv.sh $(ALL)
	$(BIN)/python -m tools.mutants --all

bench:
	@tools/venv.sh $(ALL)
	$(BIN)/python -m pytest tests/bench

compare:
	@tools/venv.sh $(ALL)
	$(BIN)/python -m tools.compare

lint:
	@tools/venv.sh $(ALL)
	@$(BIN)/python tools/layers.py style

course-check:
	@tools/venv.sh $(ALL)
	@$(BIN)/python -m tools.course_check

format:
	@tools/venv.sh $(ALL)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bundle:
	@tools/venv.sh $(ALL)
	$(BIN)/python -m tools.bundle

experiments:
	@tools/venv.sh $(ALL)
	$(BIN)/python -m tools.experiments

weights:
	@tools/venv.sh $(ALL)
	$(BIN)/python -m tools.weights

onnx:
	@tools/venv.sh $(ALL)
	$(BIN)/python -m tools.onnx_export

# One training of chapter 09's network, watched: minutes.
snapshots:
	@tools/venv.sh $(ALL)
	$(BIN)/python -m tools.snapshots

# With a torch made for the GPU, which .venv has not: PYTHON names that interpreter.
gpu:
	PYTHONPATH=. $(or $(PYTHON),python3) -m tools.gpu

gpu-bundle:
	@tools/venv.sh $(ALL)
	$(BIN)/python -m tools.gpu_bundle

notebooks:
	@tools/venv.sh $(ALL)
	$(BIN)/python tools/notebooks.py

student:
	@tools/venv.sh $(ALL)
	$(BIN)/python -m tools.student

slides:
	@tools/venv.sh $(ALL)
	$(BIN)/python -m tools.slides

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
