# Every way to build, show and check healer. `make` alone lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# The first interpreter that is new enough and can make virtual environments; PYTHON=... chooses another.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_CACHE_DIR := 1
export PIP_NO_INPUT := 1
export PIP_ROOT_USER_ACTION := ignore

# Wheels only: building from source would fetch what no lock names. Shows one line a package.
INSTALL := $(BIN)/python -m pip install --require-hashes --only-binary :all: --progress-bar off
SHOW := sed -un -e 's/^Collecting \([^ ]*\).*/  \1/p' -e 's/^Installing.*/  writing .../p'
HEALER := $(BIN)/python -m pip install --quiet --no-index --no-deps --no-build-isolation --editable .
# Existing pins are kept unless UPGRADE is set: make lock UPGRADE=1
COMPILE := UV_CUSTOM_COMPILE_COMMAND='make lock' $(BIN)/uv pip compile --quiet --no-cache --universal --python-version 3.11 \
	--only-binary :all: --generate-hashes $(if $(UPGRADE),--upgrade)

# Half of what the tests do is waiting, for leases and windows: two workers for each core.
WORKERS = $(shell $(BIN)/python -c 'import os; print(2 * len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)))')

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/made:
	@[[ -n '$(PYTHON)' ]] || { echo 'healer needs Python 3.11 or later with the venv module (on Debian: python3 and python3-venv);' \
		'none found: install one, or name one with PYTHON=/path/to/python' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo '$(PYTHON) is not Python 3.11 or later: name another with PYTHON=/path/to/python' >&2; exit 1; }
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/runtime: deploy/requirements.lock deploy/build.lock pyproject.toml | $(VENV)/made
	@echo 'installing what healer runs on'
	@$(INSTALL) -r deploy/requirements.lock -r deploy/build.lock | $(SHOW)
	@$(HEALER)
	@touch $@

$(VENV)/development: .ci/requirements.lock pyproject.toml | $(VENV)/made
	@echo 'installing what healer runs on and is tested with'
	@$(INSTALL) -r .ci/requirements.lock | $(SHOW)
	@$(HEALER)
	@touch $@ $(VENV)/runtime

.PHONY: demo
demo: $(VENV)/runtime ## Show healer at work on an embedded cluster (under a minute)
	@$(BIN)/healer demo

.PHONY: test
test: packages lint layers ## Check everything: lint, types, layers, all tests
	@$(MAKE) --no-print-directory -j2 types suite

.PHONY: suite
suite: $(VENV)/development # all tests
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

.PHONY: unit
unit: $(VENV)/development ## The quick unit tests alone, for while you write (under 90 seconds)
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -q -m 'not slow' tests/unit

.PHONY: packages
packages: # what the tests need from the distribution
	@.ci/packages

.PHONY: lint
lint: $(VENV)/development ## Lint and formatting
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

.PHONY: types
types: $(VENV)/development ## Static types
	@$(BIN)/mypy --strict healer tests

.PHONY: layers
layers: $(VENV)/development ## The layers: who may import whom
	@$(BIN)/lint-imports --no-logo

.PHONY: bench
bench: $(VENV)/development ## Measure: prints figures, asserts nothing
	@$(BIN)/python -m tests.benchmarks

.PHONY: docs
docs: $(VENV)/development ## Write the generated pages of docs/ anew
	@$(BIN)/python -c 'import pathlib, healer.settings; pathlib.Path("docs/settings.md").write_text(healer.settings.markdown(), "utf-8")'

.PHONY: lock
lock: $(VENV)/development ## Write the lock files anew from pyproject.toml (UPGRADE=1: with newer versions)
	@$(COMPILE) pyproject.toml -o deploy/requirements.lock
	@echo hatchling | $(COMPILE) - -o deploy/build.lock
	@$(COMPILE) pyproject.toml --extra dev -c deploy/requirements.lock -c deploy/build.lock -o .ci/requirements.lock

.PHONY: clean
clean: ## Remove what the targets made
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .benchmarks
	@find healer tests -name __pycache__ -prune -exec rm -rf {} +
