# Everything here works as the first command in a fresh clone, and is quick when repeated.
#   PYTHON=/path/to/python3.12 make test     another interpreter (>= 3.11) than the first one found
#   make test PYTEST='-k lock'               more arguments for pytest
#   make test WORKERS=0                      one test after the other, in this process
#   PREREQUISITES=off make test              go on without what is missing; the tests that need it are skipped, and say so
SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

VENV := .venv
BIN := $(VENV)/bin
CONFIG ?= config/syncd.toml
PYTEST ?=
WORKERS ?= 2
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
LOCKED := pyproject.toml constraints.lock

.PHONY: help demo run test chaos soak check format bench lock clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1 - /p' $(MAKEFILE_LIST) | while IFS= read -r line; do \
		printf '  make %-8s %s\n' "$${line%% - *}" "$${line#* - }"; done

demo: $(VENV)/$(if $(filter azure,$(BACKEND)),.dev,.run) ## a daemon of its own keeps two sample systems in step, is killed in the middle, and shows the books; then the status page (DEMO_EXIT=1: no page; BACKEND=azure: 3 replicas on doubles of Azure's services)
ifeq ($(BACKEND),azure)
	@.ci/prerequisites redis-server node npm
	@exec $(BIN)/python -m tests.wire stack -- $(BIN)/syncd demo --services --replicas 3
else ifneq ($(filter-out embedded,$(BACKEND)),)
	@echo 'BACKEND is embedded or azure' >&2; exit 2
else
	@exec $(BIN)/syncd demo
endif

run: $(VENV)/.run ## the daemon with config/syncd.toml (CONFIG=... for another file)
	@exec $(BIN)/syncd run --config $(CONFIG)

test: $(VENV)/.dev ## the whole suite, with the gate of 90 % of lines
	@.ci/prerequisites cc redis-server node npm
	@mkdir -p build/coverage && rm -f build/coverage/data*
	@COVERAGE_FILE="$(CURDIR)/build/coverage/data" $(BIN)/python -m pytest --cov --cov-report=term \
		--numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST)

chaos: $(VENV)/.dev ## 200 random kill -9 under webhooks, and under pulls and pushes, about half an hour; each service failing in turn, the broker for a minute; then the end of the world before and after every port call, on Azure's doubles as well, which takes longer (CHAOS_KILLS=1000, CHAOS_SEED=the one that was printed)
	@.ci/prerequisites cc redis-server node npm
	@CHAOS_KILLS=$${CHAOS_KILLS:-200} $(BIN)/python -m pytest -q -s tests/acceptance/test_kills.py tests/acceptance/test_sync_kills.py \
		tests/acceptance/test_sync_limits.py $(PYTEST)
	@BROKER_AWAY=60 $(BIN)/python -m pytest -q -s tests/acceptance/test_faults.py $(PYTEST)
	@CRASH_POINTS=all $(BIN)/python -m pytest -q tests/integration -k '(azure or embedded) and (crash or kill)' -o timeout=3600 $(PYTEST)

soak: $(VENV)/.dev ## 800 worlds of random edits on two systems, about ten minutes (SIMULATIONS=200 for each pair and rule, SIMULATION_SEED=1)
	@SIMULATIONS=$${SIMULATIONS:-50} $(BIN)/python -m pytest -q tests/integration/syncing/test_random_edits.py -o timeout=1800 $(PYTEST)

check: $(VENV)/.dev ## format, lint, types and import contracts; no tests
	@$(BIN)/ruff format --check --quiet src tests || { echo 'make format puts that right' >&2; exit 1; }
	@$(BIN)/ruff check --quiet src tests
	@$(BIN)/mypy
	@PYTHONPATH=src $(BIN)/lint-imports --no-logo --no-cache

format: $(VENV)/.dev ## format, and repair what the linter can
	@$(BIN)/ruff check --quiet --fix-only src tests
	@$(BIN)/ruff format src tests

bench: $(VENV)/.bench ## the benchmarks, each beside its reference in the same run
	@.ci/prerequisites cc redis-server wrk node npm
	@exec $(BIN)/python -m tests.benchmarks

lock: ## renew constraints.lock with the newest versions that pyproject.toml allows
	@.ci/lock

clean: ## remove what the other commands made
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps say for which pyproject.toml and constraints.lock the environment was made. What runs syncd is enough for `run` and
# `demo`; the rest brings the tools as well.
$(BIN)/python:
	@.ci/environment $(VENV)

$(VENV)/.run: $(LOCKED) $(BIN)/python
	@echo 'Installing syncd into $(VENV)'
	@$(PIP) install -c constraints.lock -e '.[speed]'
	@touch $@

$(VENV)/.bench: $(VENV)/.dev
	@echo 'Installing what the benchmarks are held against'
	@$(PIP) install -c constraints.lock -e '.[bench]'
	@touch $@

$(VENV)/.dev: $(LOCKED) $(BIN)/python
	@echo 'Installing syncd and its tools into $(VENV)'
	@$(PIP) install -c constraints.lock -e '.[azure,dev,speed]'
	@touch $(VENV)/.run $@
