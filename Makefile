# `make run` and `make test` need nothing but Python: what else it takes is set up in .venv, and again when
# pyproject.toml has changed. Arguments for the program behind a target: make run ARGS="--listen 0.0.0.0:9797"

SHELL := /bin/bash
BASE_PYTHON ?= python3
VENV := .venv
PYTHON := $(VENV)/bin/python
PIP := $(PYTHON) -m pip --quiet --disable-pip-version-check
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run test test-wheel test-systemd chaos soak lint docs bench wheel deb clean servers

help: ## Say what there is to make.
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

run: $(VENV)/ready ## Run the agent; arguments in ARGS.
	@exec $(PYTHON) -m agentd run $(ARGS)

test: $(VENV)/ready-test servers ## Run the test suite.
	@$(PYTHON) -m pytest -m "not systemd and not chaos and not soak" $(ARGS)

test-wheel: $(VENV)/ready-test servers ## Run the test suite against the built wheel.
	@.ci/test-wheel $(ARGS)

test-systemd: $(VENV)/ready-test ## Run the unit in a booted Debian; needs root, and a minute more the first time.
	@type systemd-nspawn debootstrap &>/dev/null || .ci/apt-install systemd-container debootstrap || true
	@$(PYTHON) -m pytest -m systemd $(ARGS) tests/systemd

chaos: $(VENV)/ready-test servers ## Kill the agent some 200 times, and account for every event.
	@$(PYTHON) -m pytest -m chaos -s $(ARGS) tests

soak: $(VENV)/ready-test servers ## Use an agent in all ways at once for half an hour, and see whether it grows.
	@$(PYTHON) -m pytest -m soak -s $(ARGS) tests/soak

lint: $(VENV)/ready-test $(VENV)/ready-lint ## Check style and types.
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@! type shellcheck &>/dev/null || shellcheck .ci/* debian/build debian/p* tests/systemd/*.sh

docs: $(VENV)/ready ## Write what follows from the code: docs/metrics.md, docs/man, etc/agentd.toml, etc/grafana and others.
	@$(PYTHON) docs/generate.py
	@$(PYTHON) docs/dashboards.py

bench: $(VENV)/ready servers ## Measure agentd beside its peers.
	@$(PYTHON) -m benchmarks $(ARGS)

wheel: $(VENV)/ready ## Build the wheel, into dist/.
	@$(PIP) wheel --no-deps --wheel-dir dist .

deb: $(VENV)/ready ## Build the Debian package for this machine's Debian, into dist/.
	@debian/build

clean: ## Remove all that was made here.
	@rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -prune -exec rm -rf {} +

# Servers that tests and benchmarks start themselves. Where they cannot be installed, those tests are skipped.
servers:
	@type prometheus promtool prometheus-node-exporter dbus-daemon redis-server mosquitto nats-server openssl strace faketime &>/dev/null \
	  || .ci/apt-install prometheus prometheus-node-exporter dbus-daemon redis-server mosquitto nats-server openssl strace faketime || true

$(VENV)/ready: pyproject.toml
	@type $(BASE_PYTHON) >/dev/null
	@$(BASE_PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "agentd needs Python 3.11 or newer: make BASE_PYTHON=/path/to/it" >&2; exit 1; }
	@$(BASE_PYTHON) -c 'import ensurepip' 2>/dev/null || .ci/apt-install python3-venv \
	  || { echo "$(BASE_PYTHON) cannot make a virtual environment: install python3-venv" >&2; exit 1; }
	@echo "setting up $(VENV)"
	@$(BASE_PYTHON) -m venv --clear $(VENV)
	@$(PIP) install --upgrade 'pip>=25.1' # the first that knows groups of dependencies
	@$(PIP) install --editable .
	@touch $@

$(VENV)/ready-%: $(VENV)/ready
	@$(PIP) install --group $*
	@touch $@
