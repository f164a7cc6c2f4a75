# Everything from a bare machine with Python 3.11 to 3.13: `make demo`, `make test`. PYTHON=... picks the interpreter.

PYTHON ?=
UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
READY := $(VENV)/.ready
# A Milvus server for the tests marked milvus. It runs on Linux on x86_64; elsewhere those tests are skipped.
MILVUS := .venv-milvus
MILVUS_READY := $(if $(filter Linux-x86_64,$(shell uname -sm | tr ' ' -)),$(MILVUS)/.ready)
OFFLINE := HF_HUB_OFFLINE=1

.PHONY: help setup demo test lint types format audit lock clean
.DEFAULT_GOAL := help

help: ## say what each target does
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

setup: $(READY) ## build .venv from requirements.lock (again only when the pins change)

demo: $(READY) ## the whole job on drawn garments: train, measure, index, search; no network
	$(OFFLINE) $(BIN)/lapel demo --to lapel-demo

test: $(READY) $(MILVUS_READY) ## the tests, in parallel, then those on a Milvus server; no network
	$(OFFLINE) $(BIN)/pytest -n auto --maxprocesses 8 --dist worksteal -m "not milvus"
	$(OFFLINE) $(BIN)/python tests/milvus_server.py $(BIN)/pytest -rs -m milvus $$(grep -rl --include='test_*.py' 'mark[.]milvus' tests)

lint: $(READY) ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY) ## the type checker, strict
	$(BIN)/mypy

format: $(READY) ## put the style right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

audit: $(READY) ## known vulnerabilities of the pinned packages; needs a network
	$(BIN)/pip-audit -r requirements.lock --no-deps --disable-pip --progress-spinner off

lock: $(UV) ## pin again after a change of pyproject.toml; UPGRADE=--upgrade takes the newest versions
	$(UV) pip compile pyproject.toml --universal --generate-hashes --extra dev --no-header --no-emit-index-url \
	  --no-emit-find-links --python-version 3.11 --quiet $(UPGRADE) --output-file requirements.lock
	printf 'milvus==2.3.5\nsetuptools<80\n' | $(UV) pip compile - --universal --generate-hashes --no-header \
	  --no-annotate --no-emit-index-url --python-version 3.11 --quiet --output-file requirements-milvus.lock

clean: ## remove what these targets made, .venv included
	rm -rf $(VENV) $(MILVUS) lapel-demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is older than the pins when they change, and only then is anything installed.
$(READY): requirements.lock pyproject.toml $(UV)
	$(UV) pip install --python $(BIN)/python --require-hashes -r requirements.lock
	$(UV) pip install --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

$(MILVUS)/.ready: requirements-milvus.lock | $(UV)
	$(UV) venv --clear --quiet --python $(BIN)/python $(MILVUS)
	$(UV) pip install --python $(MILVUS)/bin/python --require-hashes -r requirements-milvus.lock
	$(BIN)/python tests/milvus_server.py --unpack
	@touch $@

# uv lives inside .venv: nothing outside the project folder is changed.
$(UV): Makefile
	@set -eu; \
	supported='import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'; \
	if ! $(BIN)/python -c "$$supported" 2>/dev/null; then \
	  found=; \
	  for candidate in $(or $(PYTHON),python3.13 python3.12 python3.11 python3 python); do \
	    if "$$candidate" -c "$$supported" 2>/dev/null; then found=$$candidate; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo "lapel needs Python 3.11, 3.12 or 3.13 with its venv module; tried $(or $(PYTHON),python3.13 python3.12 python3.11 python3 python)." >&2; \
	    echo "Install one (on Debian and Ubuntu also python3-venv), or name it: make setup PYTHON=PATH" >&2; \
	    exit 1; \
	  fi; \
	  "$$found" -m venv --clear $(VENV); \
	fi; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); \
	touch $@
