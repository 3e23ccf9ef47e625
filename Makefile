# `make` alone lists the targets. Everything goes into .venv; nothing else on the machine is changed.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test quick test-bare test-slow findings clients lint bench compiled bench-compiled chaos prove kafka lock clean

BIN := .venv/bin
SET_UP := .venv/.set-up
# Tried in this order; make setup PYTHON=/path/to/python3.12 names another one.
PYTHON := python3.12 python3.11 python3 python
ARGS :=
# Many tests wait for real servers: one process more than there are cores, up to four.
CORES := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
IN_PARALLEL := --numprocesses $(shell echo $$(( $(CORES) < 4 ? $(CORES) + 1 : 4 ))) --dist loadgroup

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | while IFS=$$'\t' read -r target words; do printf '  make %-15s %s\n' "$$target" "$$words"; done

setup: $(SET_UP) ## virtual environment, locked dependencies, the command .venv/bin/millrace

demo: setup ## the life of a simulated shop, live in the terminal (Ctrl-C ends it)
	@$(BIN)/millrace demo $(ARGS)

test: setup ## all tests; make test ARGS="-k gateway" for some
	@$(BIN)/pytest $(IN_PARALLEL) $(ARGS)

quick: setup ## what thinks, with few examples of each property, and the floors: about a minute
	@HYPOTHESIS_PROFILE=quick $(BIN)/pytest -q $(IN_PARALLEL) -m "not slow and not long" tests/logic tests/schemas tests/test_floors.py $(ARGS)

test-bare: setup ## the tests that look for Redis, Java, Node.js ... as on a machine that has none of them
	@$(BIN)/python tests/bare.py $(BIN)/pytest $(IN_PARALLEL) -m "parts and not slow" $(ARGS)

test-slow: setup ## the tests that take minutes: real faults on the real thing
	@$(BIN)/pytest -m slow $(ARGS)

findings: ## what surprised us in the libraries and tools around us: runs each script of findings/ (needs the network)
	@failed=0; for script in findings/*.sh; do \
	  if bash "$$script" >/dev/null 2>&1; then echo "as described: $$script"; else echo "OTHERWISE NOW: $$script"; failed=1; fi; \
	done; exit $$failed

clients: setup ## what others publish: their clients, against a running millrace; writes docs/clients.md (needs the network)
	@$(BIN)/python -m tests.clients $(ARGS)
	@$(BIN)/python -m tests.clients.retries $(ARGS) $(if $(ARGS),,--write)

lint: setup ## style, layout and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy --strict flows schemas state connectors

bench: setup ## how fast the whole path is here
	@$(BIN)/millrace bench $(ARGS)

# In a copy, so that no compiled module hides what is edited here. setup.py stands with pyproject.toml there, and the wheel is of that platform.
compiled: setup ## the hot path as machine code, in build/compiled and as a wheel beside it (needs a C compiler)
	@rm -rf build/compiled && mkdir -p build/compiled
	@git ls-files -z | xargs -0 cp --parents -t build/compiled && cp deploy/compiled/setup.py build/compiled
	@cd build/compiled && ../../$(BIN)/python setup.py --quiet build_ext --inplace
	@cd build/compiled && ../../$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index --wheel-dir .. .

bench-compiled: compiled ## how fast that is
	@cd build/compiled && PYTHONPATH=$$PWD ../../$(BIN)/python -m bench.run $(ARGS)

chaos: setup ## ten minutes of everything that can go wrong, then the count; make chaos ARGS="--seed 7 --kafka"
	@$(BIN)/millrace chaos --seconds 600 $(ARGS)

prove: setup ## known personal values by every way in, then the search of all that is left for them; make prove ARGS=--kafka
	@$(BIN)/millrace prove sealed $(ARGS)

kafka: ## a single-node Apache Kafka on 127.0.0.1:9092 (needs Java 17 and Maven)
	@deploy/kafka/run.sh

lock: ## requirements.lock anew from pyproject.toml (needs uv)
	@uv pip compile --quiet --generate-hashes --no-header --no-emit-index-url --no-emit-find-links --universal --extra dev \
	  --python-version 3.11 pyproject.toml --output-file requirements.lock

clean: ## remove what was made here: .venv, caches, data
	@rm -rf .venv build *.egg-info data .pytest_cache .mypy_cache .ruff_cache .hypothesis deploy/kafka/target
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A version manager may leave a python3.12 on PATH that cannot run, and a distribution a python3 without venv: so each one is tried.
# An environment whose interpreter is gone or is of another version is made anew.
$(SET_UP): pyproject.toml requirements.lock
	@suits() { "$$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' >/dev/null 2>&1; }; \
	if ! suits $(BIN)/python; then \
	  for python in $(PYTHON) none; do suits "$$python" && break; done; \
	  if [ "$$python" = none ]; then \
	    echo "millrace needs Python 3.11 or 3.12 with venv, and found neither among: $(PYTHON)" >&2; exit 1; \
	  fi; \
	  echo "making .venv with $$("$$python" --version)"; \
	  "$$python" -m venv --clear .venv; \
	fi; \
	echo "installing the locked dependencies"; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements.lock; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index --editable .
	@touch $@
