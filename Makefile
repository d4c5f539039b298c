# Everything that a developer runs. Each target sets up what it needs; the only things to have are make and Python 3.11
# to 3.13 (with venv: Debian's package python3-venv).

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest --numprocesses auto

.DEFAULT_GOAL := help
.PHONY: help demo test plugins check coverage test-all bench generate format clean

help:  ## Say what there is.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	    || { echo "Flytower needs Python 3.11 to 3.13; say which with make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' \
	    || { echo "Python's venv is missing; on Debian: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(STAMP)  ## Start a server, push a dozen real jobs through it, watch them, delete one, stop cleanly.
	@$(BIN)/flytower demo

test: $(STAMP)  ## Run all tests.
	$(PYTEST)

plugins: $(STAMP)  ## Install each connector plugin of flytekit, serve and drive it: is docs/flytekit.md's table true?
	$(PYTEST) tests_plugins -o faulthandler_timeout=0  # an install may take longer than any other test

coverage: $(STAMP)  ## Measure branch coverage of the kernel and of the life cycle, which has to be 100 %.
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest --numprocesses auto tests/runtime tests/actors
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --include='$(COVERED)' --skip-covered --fail-under=100

COVERED := runtime/*,actors/lifecycle.py,actors/steps.py,actors/creating.py,actors/living.py,actors/ending.py,actors/births.py,actors/polling.py

check: $(STAMP)  ## Lint, types, generated code, the wheel, its imports and its command line.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p flytower
	$(BIN)/mypy tests tests_plugins benchmarks
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m flytower.protocol.generate --check
	$(BIN)/python scripts/check_wheel.py

test-all: $(STAMP)  ## Run the tests on every supported Python that is at hand.
	PYTHON=$(BIN)/python scripts/test_all.sh

bench: $(STAMP)  ## Print the benchmarks' tables; needs h2load (Debian: nghttp2-client). Eight minutes.
	for script in actors task_actors poll_capacity poll_floor lives read_path under_polls loop_delay start flytekit_server; do \
	    $(BIN)/python benchmarks/$$script.py || exit 1; done

generate: $(STAMP)  ## Write the messages anew from flyteidl's descriptors, and the lists of settings and policies.
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m flytower.protocol.generate
	$(BIN)/python scripts/settings_doc.py
	$(BIN)/python scripts/policy_doc.py

format: $(STAMP)  ## Format, and fix what can be fixed without thinking.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove what the targets above have made.
	rm -rf $(VENV) .venv-* build dist *.egg-info .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis
