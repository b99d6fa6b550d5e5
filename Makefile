# All paths are relative: the project may live in a folder with spaces in its name.
PYTHON ?= python3
ARGS ?=
WORKERS := -n auto --dist loadfile
TEST_ARGS ?= $(WORKERS) --cov --cov-config=tests/coverage.ini --watch-less
PY := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup run test test-extra coverage lint format bench web clients schema requirements environment environment-dev

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile

setup: environment web ## set up what is missing: .venv, packages, web build

run: setup ## run the whole platform: make run ARGS="--port 8001"
	@$(PY) manage.py up $(ARGS)

test: environment-dev web clients ## run the whole suite: make test TEST_ARGS="tests/kernel -x"
	$(PY) -m pytest $(TEST_ARGS)

test-extra: environment-dev ## run the tests of the extra sentence-transformers: installs torch beside .venv
	@$(PY) -m tools.extra
	PYTHONPATH=.venv/extra $(PY) -m pytest tests/providers/semantic/test_same_vectors.py

coverage: environment-dev web clients ## run the whole suite, and measure all of it: slower by half
	$(PY) -m pytest $(WORKERS) --cov
	@echo kernel and tenants, percent covered:
	@$(PY) -m coverage report --include 'platform/kernel/*,platform/tenants/*' --fail-under 95 --format total

lint: environment-dev ## check style, types and the direction of imports
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	PYTHONPATH=platform $(PY) -c "from importlinter.cli import lint_imports_command; lint_imports_command()"
	@$(PY) -m tools.web run check

format: environment-dev ## put the code into its usual form
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

bench: environment-dev ## run the benchmarks: make bench ARGS="..."
	@$(PY) -m bench $(ARGS)

web: environment ## build the browser app
	@$(PY) -m tools.web build

schema: environment-dev ## write the API's schema, and the browser app's types from it
	$(PY) manage.py spectacular --format openapi-json --fail-on-warn --file platform/web/schema.json
	@$(PY) -m tools.web run types

requirements: environment-dev ## compile requirements/*.txt from pyproject.toml
	$(PY) -m tools.requirements

clients: environment
	@$(PY) -m tools.clients

environment:
	@$(PYTHON) -m tools.environment run

environment-dev:
	@$(PYTHON) -m tools.environment dev
