# `make demo` and `make test` set up what is missing first (scripts/set_up) and are fast the second time.

INPUT ?=
RATE ?=
export INPUT RATE

.PHONY: help demo test lint bench set_up clean

help: ## this text
	@grep -E '^[a-z_]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z_]+):.*## /\1\t/' | expand -t 10

demo: ## watch a city drive segmented and tracked by the live node; INPUT=<bag, video or images> RATE=<speed> to choose
	scripts/with_env scripts/demo

# A process for each core, each of one thread; files are not split, for their tests share nodes and models.
test: lint ## everything the continuous integration runs: lint, then the tests
	OMP_NUM_THREADS=1 scripts/with_env pytest -n auto --maxprocesses 4 --dist loadfile

lint: ## ruff, mypy and the import contract
	scripts/with_env ruff check .
	scripts/with_env mypy
	scripts/with_env lint-imports --no-logo

bench: ## latency, throughput and scores on this machine (python -m benchmarks)
	scripts/with_env python -m benchmarks

set_up: ## only make the environment and build the messages
	scripts/set_up

clean: ## remove what was built; .venv and out/ stay
	rm -rf build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
