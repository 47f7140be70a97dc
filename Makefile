# Everything runs in .venv, which `make setup` makes; every other target makes it first if needed.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The versions of Python that test-matrix looks for, on the path and in pyenv's folder.
PYTHONS ?= 3.11 3.12 3.13
PYENV := $(or $(PYENV_ROOT),$(HOME)/.pyenv)
FAST := tests/architecture tests/unit tests/contract
# What fails quickly comes first. The contract's tests share nothing and come last: both processes
# have some to run until the end.
ALL := tests/architecture tests/unit tests/integration tests/ui tests/distributed tests/nodes \
	tests/contract

# Side by side, in the order of their files: half of a test's time is waiting for servers.
TEST_PROCESSES ?= 2
TOGETHER = -n $(TEST_PROCESSES) --dist loadgroup --no-loadscope-reorder

export RAY_USAGE_STATS_ENABLED := 0
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export OMP_NUM_THREADS ?= 1

.PHONY: help setup demo test test-fast test-matrix schema fuzz lint format types imports docs bench clean

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	# torch alone and first: asked for by its exact version, so that nothing pulls in another build.
	$(BIN)/python -m pip install --quiet --constraint constraints.txt "torch==$$(sed -n 's/^torch==//p' constraints.txt)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

setup: $(STAMP) ## make the environment in .venv

demo: $(STAMP) ## train, promote, denoise and detect on real digits, end to end
	$(BIN)/python -m isthmus_pipelines.demo

test: $(STAMP) ## all tests, fast ones first
	$(BIN)/python -m pytest $(TOGETHER) $(ALL)

test-fast: $(STAMP) ## the tests that need no cluster, server or browser
	$(BIN)/python -m pytest $(TOGETHER) -m "not slow and not distributed and not ui and not gpu" $(FAST)

test-matrix: ## the fast tests with each of Python 3.11, 3.12 and 3.13 that is there
	@failed=; for version in $(PYTHONS); do \
		python=$$(for each in python$$version $(PYENV)/versions/$$version.*/bin/python; do \
			"$$each" -c "" 2>/dev/null && echo "$$each" && break; done); \
		if [ -n "$$python" ]; then \
			echo "Python $$version ($$python), in .venv-$$version:"; \
			$(MAKE) --no-print-directory VENV=.venv-$$version PYTHON="$$python" test-fast \
				|| failed="$$failed $$version"; \
		else \
			echo "Python $$version is not on this machine: left out"; \
		fi; \
	done; \
	test -z "$$failed" || { echo "The fast tests fail with Python$$failed"; exit 1; }

schema: $(STAMP) ## the JSON schema that `isthmus schema` prints, after a change to an option
	PYTHONPATH=platform $(BIN)/python -c "from isthmus.jobs.job_schema import write; write()"

SECONDS ?= 600
fuzz: $(STAMP) ## damaged files of every format, for SECONDS=600
	$(BIN)/python -m tests.fuzz $(SECONDS)

lint: $(STAMP) ## style, types and import direction
	$(BIN)/ruff check platform pipelines tests
	$(BIN)/ruff format --check platform pipelines tests
	$(MAKE) types imports

format: $(STAMP) ## rewrite the code in the house style
	$(BIN)/ruff check --fix-only platform pipelines tests
	$(BIN)/ruff format platform pipelines tests

types: $(STAMP) ## mypy --strict
	$(BIN)/mypy

imports: $(STAMP) ## the rooms import one way only
	$(BIN)/lint-imports

docs: $(STAMP) ## the pages of docs/, to site/; a dead link is an error
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=platform $(BIN)/mkdocs build --strict --quiet

bench: $(STAMP) ## every benchmark, a JSON line each
	@for file in $(filter-out %/measuring.py %/vus_pr.py,$(wildcard tests/benchmarks/*.py)); do $(BIN)/python $$file || exit 1; done

clean: ## remove what setup, tests and demo made
	rm -rf .venv .venv-* .isthmus mlflow.db* mlruns demo-results site fuzz-failures .pytest_cache .mypy_cache .ruff_cache
