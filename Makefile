# Everything runs in .venv, made from pyproject.toml and constraints.txt; nothing else is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYSERINI2 := 2.3.0

.PHONY: help demo test test-pyserini2 test-gpu bench-gpu lint types check bench clean

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

demo: $(READY)  ## index and search the standard library's documentation in every way
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

# On a machine with a GPU: make test-gpu bench-gpu GPU_PYTHON=… with CuPy (extras cuda12, cuda13).
GPU_PYTHON ?= $(BIN)/python
GPU_TESTS := -m pytest -m gpu -p no:cacheprovider tests/test_cuda_gpu.py
SANITIZER := compute-sanitizer --error-exitcode 1

test-gpu:  ## the CUDA kernels on a GPU, then once more under compute-sanitizer
	$(GPU_PYTHON) $(GPU_TESTS)
	$(SANITIZER) --tool memcheck $(GPU_PYTHON) $(GPU_TESTS)
	$(SANITIZER) --tool racecheck $(GPU_PYTHON) $(GPU_TESTS) -k "not real_sizes"
	$(SANITIZER) --tool synccheck $(GPU_PYTHON) $(GPU_TESTS) -k "not real_sizes"

bench-gpu:  ## time the CUDA kernels; writes benchmarks/results/rescore-gpu.json
	PYTHONPATH=$(CURDIR) $(GPU_PYTHON) benchmarks/rescore_cuda.py \
	  --output benchmarks/results/rescore-gpu.json

lint: $(READY)  ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)  ## mypy
	$(BIN)/mypy

check: lint types test  ## what CI runs

clean:  ## remove everything that was made here
	rm -rf $(VENV) build dist demo .pytest_cache .ruff_cache .mypy_cache
