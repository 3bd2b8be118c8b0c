# Run `make` to see what there is. Every target runs on a laptop: no AWS account, no Docker.

PYTHON ?= python3

# Settings that the commands read from their environment, for example `make run PHOTOS=~/pictures PORT=4600`.
export PHOTOS PORT REKOGNITION_PORT

# Twice quiet: errors are shown, warnings about a package index are not.
PIP_INSTALL = -m pip install -qq --disable-pip-version-check --no-deps --require-hashes
# The command petdetect, from where it lies; setuptools is there by then.
PIP_INSTALL_SELF = -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install run up down test lint faults bench dashboards clean

# --- Help ------------------------------------------------------------------------------------------------------------

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- Install: .venv holds the tools, .engine/venv the embedded AWS (their pins contradict each other) -----------------

install: .venv/.installed .engine/venv/.installed ## Install the tools and the embedded AWS (needs Python 3.11 or newer)

.venv/.installed: requirements-dev.txt pyproject.toml | check-python
	@echo "Installing the tools into .venv ..."
	@$(PYTHON) -m venv .venv
	@.venv/bin/python $(PIP_INSTALL) -r requirements-dev.txt
	@.venv/bin/python $(PIP_INSTALL_SELF)
	@touch $@

.engine/venv/.installed: local/requirements.txt | check-python
	@echo "Installing the embedded AWS into .engine/venv ..."
	@$(PYTHON) -m venv .engine/venv
	@.engine/venv/bin/python $(PIP_INSTALL) -r local/requirements.txt
	@touch $@

.PHONY: check-python
check-python:
	@command -v "$(PYTHON)" > /dev/null || { \
	  echo "There is no $(PYTHON): install Python 3.11 or newer, or name yours: make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$$("$(PYTHON)" --version) is too old: install Python 3.11 or newer, or name one: make PYTHON=python3.13" >&2; exit 1; }
	@"$(PYTHON)" -c 'import venv, ensurepip' 2> /dev/null || { \
	  echo "$(PYTHON) lacks the venv module: install it (Debian and Ubuntu: apt install python3-venv)." >&2; exit 1; }

# --- Run -------------------------------------------------------------------------------------------------------------

run: install ## Sort the pictures of photos/, or of PHOTOS=folder, on this machine, and show the table
	@.venv/bin/python -m local demo

up: install ## Start the embedded AWS and deploy the application to it
	@.venv/bin/python -m local deploy

down: ## Stop the embedded AWS
	@if [ -x .venv/bin/python ]; then .venv/bin/python -m local engine down; else echo "Nothing is installed, nothing runs."; fi

# --- Test ------------------------------------------------------------------------------------------------------------

# Two processes: more would make the engines' clocks run late on a small machine.
SIDE_BY_SIDE = -n 2 --dist loadgroup
# Branches of functions/ that the whole suite must run, in percent; a part of the suite (PYTEST=...) need not.
COVERAGE = --cov --cov-report=term --cov-fail-under=90

test: lint ## Check and test everything, offline
	@command -v npm > /dev/null && $(MAKE) -s .engine/node/.installed \
	  || echo "Without npm's packages the state machine is not judged by a second engine: those tests are skipped."
	@.venv/bin/python -m pytest -q $(or $(PYTEST),$(SIDE_BY_SIDE) $(COVERAGE))

lint: install ## Style, types and templates
	@.venv/bin/ruff check -q .
	@.venv/bin/ruff format -q --check .
	@.venv/bin/mypy functions ops local
	@.venv/bin/cfn-lint template.yaml stacks/*.yaml
	@said=$$(AWS_DEFAULT_REGION=us-east-1 SAM_CLI_TELEMETRY=0 .venv/bin/sam validate --lint 2>&1) || { echo "$$said" >&2; exit 1; }

# A second engine for the state machine's expressions, and a second validator. They need node and npm.
.engine/node/.installed: tests/workflow/reference/package-lock.json
	@mkdir -p .engine/node
	@cp tests/workflow/reference/package.json tests/workflow/reference/package-lock.json .engine/node
	@npm ci --prefix .engine/node --ignore-scripts --no-audit --no-fund --silent
	@touch $@

# --- Faults: every call of the application broken in every way -------------------------------------------------------

faults: install .engine/faults-venv/.installed ## Break every call in every way; five minutes. ONLY=regex chooses cells
	@PYTHONPATH=.:functions .venv/bin/python -m tests.faults $(if $(ONLY),--only '$(ONLY)')

.engine/faults-venv/.installed: tests/faults/requirements.txt | check-python
	@echo "Installing the faulty proxy into .engine/faults-venv ..."
	@$(PYTHON) -m venv .engine/faults-venv
	@.engine/faults-venv/bin/python $(PIP_INSTALL) -r tests/faults/requirements.txt
	@touch $@

# --- Measure ---------------------------------------------------------------------------------------------------------

bench: install ## Measure images a second, imports and transitions on this machine
	@.venv/bin/python -m tests.benchmarks

# --- Documents -------------------------------------------------------------------------------------------------------

dashboards: .engine/docs-venv/.installed ## Draw the dashboards into docs/, from stacks/dashboards.yaml and sample data
	@.engine/docs-venv/bin/python -m docs.dashboards.render

.engine/docs-venv/.installed: docs/dashboards/requirements.txt | check-python
	@$(PYTHON) -m venv .engine/docs-venv
	@.engine/docs-venv/bin/python $(PIP_INSTALL) -r docs/dashboards/requirements.txt
	@touch $@

# --- Clean up --------------------------------------------------------------------------------------------------------

clean: down ## Stop everything and remove all that make created
	@rm -rf .venv .engine .aws-sam
