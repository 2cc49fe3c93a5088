# Everything runs in .venv, made from pyproject.toml and constraints.txt; nothing else is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYSERINI2 := 2.3.0

.PHONY: help demo test test-pyserini2 lint types check bench clean

help:  ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1|/' \
	  | awk -F'|' '{printf "  make %-16s %s\n", $$1, $$2}'

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: $(PYTHON) is older than Python 3.11; use make PYTHON=python3.11 …" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt torch
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[test]'
	touch $@

demo: $(READY)  ## index and search the standard library's documentation, nine ways
	$(BIN)/python examples/demo/run.py

test: $(READY)  ## run the tests
	$(BIN)/python -m pytest

test-pyserini2: $(READY) build/pyserini-$(PYSERINI2)/pyserini  ## the tests against Pyserini 2.x
	PYTHONPATH=$(CURDIR)/build/pyserini-$(PYSERINI2) $(BIN)/python -m pytest

# Pyserini 2.x asks for Python 3.12, but runs on 3.11 when it lies first on the path; so one
# machine can test both.
build/pyserini-$(PYSERINI2)/pyserini: | $(READY)
	$(BIN)/python -m pip install --disable-pip-version-check -q --no-deps --ignore-requires-python \
	  --target $(@D) pyserini==$(PYSERINI2)

lint: $(READY)  ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)  ## mypy
	$(BIN)/mypy

check: lint types test  ## what CI runs

clean:  ## remove everything that was made here
	rm -rf $(VENV) build dist demo .pytest_cache .ruff_cache .mypy_cache
