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
# Byte code is kept, whatever a container's image says: each process of the tests would compile all anew.
export PYTHONDONTWRITEBYTECODE :=
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

PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
COVERAGE := $(VENV)/coverage.json
# The rooms that decide. The others talk to a cluster, and much of what tests them runs in other processes.
# The tests of sources run the detectors of pod conditions, those of docs the tables of the rule language.
DECIDES := engine judge rules

# The first one that works here: docker is often installed without its service.
BUILDER ?= $(shell for each in docker podman buildah; do $$each info >/dev/null 2>&1 && echo $$each && break; done)
# Another base image, best by its digest: make image BASE=NAME@sha256:...
BASE ?=
BUILD_FLAGS ?=
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
IMAGE ?= healer:$(VERSION)

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(VENV)/development ## Install all that the other targets need: .venv, and as root on Debian the distribution's packages
	@.ci/packages

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

.PHONY: unit
unit: $(VENV)/development ## Run the quick unit tests alone, for while you write (under 90 seconds)
	@$(PYTEST) -q -m 'not slow' tests/unit

.PHONY: test
test: setup lint layers ## Check everything: setup, lint, types, layers, all tests
	@$(MAKE) --no-print-directory -j2 types suite

.PHONY: suite
suite: $(VENV)/development # all tests, once they are compiled: the workers would each compile them. What does not compile, they say.
	@$(BIN)/python -m pytest -qq --collect-only >/dev/null 2>&1 || true
	@$(PYTEST)

.PHONY: coverage
coverage: $(VENV)/development ## Print how many branches of engine, judge and rules the unit tests run; fails below 95 %
	@COVERAGE_FILE=$(VENV)/coverage $(PYTEST) -q --timeout 600 $(DECIDES:%=tests/unit/%) tests/unit/sources tests/docs \
		$(DECIDES:%=--cov=healer.%) --cov-branch --cov-report=json:$(COVERAGE)
	@$(BIN)/python -m tests.coverage $(COVERAGE)

.PHONY: fmt
fmt: $(VENV)/development ## Format the code, and mend what the linter can mend
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

.PHONY: lint
lint: $(VENV)/development ## Check lint and formatting
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

.PHONY: types
types: $(VENV)/development ## Check static types
	@$(BIN)/mypy --strict healer tests

.PHONY: layers
layers: $(VENV)/development ## Check the layers: which room may import which
	@$(BIN)/lint-imports --no-logo

.PHONY: bench
bench: $(VENV)/development ## Measure: print figures, assert nothing
	@$(BIN)/python -m tests.benchmarks

.PHONY: corpus
corpus: $(VENV)/development ## Judge healer, and three simpler policies, by the corpus of failures
	@$(BIN)/python -m tests.corpus

.PHONY: docs
docs: $(VENV)/development ## Write the generated parts of docs/ anew
	@$(BIN)/python -m tests.docs

.PHONY: image
image: ## Build the container image healer:VERSION with docker, podman or buildah (IMAGE=NAME:TAG, BASE=NAME@DIGEST)
	@[[ -n '$(BUILDER)' ]] || { echo 'no docker, podman or buildah works here ("docker info" fails): install one or start its service,' \
		'and run make image again' >&2; exit 1; }
	@$(BUILDER) build $(BUILD_FLAGS) $(if $(BASE),--build-arg BASE=$(BASE)) --tag $(IMAGE) .

.PHONY: lab
lab: $(VENV)/development ## Serve a lab cluster until Ctrl-C, and print its URL and the kubeconfig for kubectl and healer
	@$(BIN)/python -m healer.lab --kubeconfig $(VENV)/lab.kubeconfig --apply deploy/healer/crd.yaml

.PHONY: lock
lock: $(VENV)/development ## Write the lock files anew from pyproject.toml (UPGRADE=1: with newer versions)
	@$(COMPILE) pyproject.toml -o deploy/requirements.lock
	@$(COMPILE) pyproject.toml --extra apprise --extra otel -c deploy/requirements.lock -o deploy/extras.lock
	@echo hatchling | $(COMPILE) - -o deploy/build.lock
	@$(COMPILE) pyproject.toml --extra dev -c deploy/requirements.lock -c deploy/build.lock -o .ci/requirements.lock

.PHONY: clean
clean: ## Remove what the targets made
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .benchmarks
	@find healer tests -name __pycache__ -prune -exec rm -rf {} +
