.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
STUDIES ?= 600
# Each worker runs whole files. It has all libraries in memory, 2 GB, so there are four at most.
WORKERS := --numprocesses logical --maxprocesses 4 --dist loadfile

.PHONY: help setup demo test test-fast test-services check images lock ui clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.venv/installed: pyproject.toml requirements.lock
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

setup: .venv/installed  ## Make .venv and install the locked dependencies

demo: setup  ## Phantoms, the whole pipeline, the journal
	$(BIN)/ranzcr data phantom .ranzcr/phantoms --studies $(STUDIES) --size 512 --seed 0
	$(BIN)/ranzcr pipeline run competition --data .ranzcr/phantoms --folds 3 \
		--first smoke_a,smoke_b --second smoke_student
	$(BIN)/ranzcr journal
	@echo 'The champion: .venv/bin/ranzcr registry list. The pages: .venv/bin/ranzcr ui'

test-fast: setup  ## The tests that take under a minute together
	$(BIN)/python -m pytest -m 'not service and not slow' $(WORKERS)

test: setup  ## Every test that needs only pip packages
	$(BIN)/python -m pytest -m 'not service' $(WORKERS) --no-loadscope-reorder

test-services: setup  ## The tests with real servers, started on loopback
	$(BIN)/python -m pytest -m service $(WORKERS)

check: setup  ## Lint, format and types, as pre-commit runs them
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

images:  ## Build the images with Docker, Podman or Buildah
	$(PYTHON) docker/build.py

lock:  ## Resolve pyproject's pins into requirements.lock
	$(BIN)/pip-compile --quiet --extra dev --strip-extras --no-emit-index-url \
		--no-emit-find-links --no-header --unsafe-package pip \
		--output-file requirements.lock pyproject.toml
	sed -i -E 's/^(torch==[0-9.]+)\+cpu$$/\1/' requirements.lock

ui: setup  ## MLflow's pages on the journal
	$(BIN)/ranzcr ui

clean:  ## Remove the demo's results and the caches, not .venv
	rm -rf .ranzcr .pytest_cache .mypy_cache .ruff_cache .hypothesis
