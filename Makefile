# Everything from a bare checkout. The first target makes .venv; later ones reuse it until a pyproject.toml changes.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PLUGINS := $(sort $(wildcard plugins/*/pyproject.toml))
STAMP := $(VENV)/installed
BENCHMARKS := $(sort $(filter-out benchmarks/_%,$(wildcard benchmarks/*.py)))

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
export PIP_NO_INPUT := 1

.PHONY: help setup demo studio test test-all lint bench docs

help:
	@echo "make setup     make .venv with ganenc, its plugins and what developing them takes"
	@echo "make demo      invert real photos with the shipped models; no network needed"
	@echo "make studio    open the page: a photo in, its reconstruction, sliders, dragging; no network needed"
	@echo "make test      the tests that are quick (test-all: every test)"
	@echo "make lint      ruff and mypy"
	@echo "make bench     print ratios of speed and quality into benchmarks/results"
	@echo "make docs      the documentation, in site; no network needed"

setup: $(STAMP)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(STAMP): pyproject.toml $(PLUGINS) | $(BIN)/python
	$(BIN)/python -m pip install -e ".[dev]" $(PLUGINS:%/pyproject.toml=-e ./%)
	@touch $@

demo: $(STAMP)
	$(BIN)/ganenc demo

studio: $(STAMP)
	$(BIN)/ganenc studio

WORKERS ?= $(shell $(PYTHON) -c "import os; print(min(4, os.cpu_count() or 1))")

test: $(STAMP)
	$(BIN)/python -m pytest -m "not slow" -n $(WORKERS) --dist worksteal

test-all: $(STAMP)
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)
	@for script in $(BENCHMARKS); do $(BIN)/python $$script; done

docs: $(STAMP)
	$(BIN)/mkdocs build --strict
