# Every target works from a fresh clone; `make` alone lists them.
PYTHON ?= python3
VENV   ?= .venv
DATA   ?= ../shared/data/outcomes
# training needs torch; pinned, and installed before anything that would ask for an open range and pull a CUDA build
TORCH  ?= torch==2.13.0
BIN    := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help install fix check test test-local bench bench-peers leakage train compare docs build demo demo-large clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[demo]'
	@touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet '$(TORCH)'
	$(BIN)/python -m pip install --quiet --editable '.[dev,demo]'
	@touch $@

install: $(VENV)/.dev ## make the virtual environment with all that developers need

demo: $(VENV)/.demo ## see real questions routed between two small local models (downloads 0.6 GB once)
	$(BIN)/python examples/01_demo.py
	@echo; echo "And questions to a query engine and a chat engine over a few pages:"; echo
	@$(BIN)/python examples/04_llamaindex_query_engine.py

demo-large: $(VENV)/.demo ## the same with a larger pair, where routing is a real problem (1.6 GB once)
	$(BIN)/python examples/01_demo.py --pair large

fix: install ## format, and mend what can be mended automatically
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: install ## format, lint, types, import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy examples
	$(BIN)/lint-imports

test: install ## all tests that need no model and no outcome tables (those that do are skipped where these are absent)
	$(BIN)/python -m pytest -m "not local_models"

test-local: install ## the end-to-end tests over two real local models (downloads them once)
	$(BIN)/python examples/00_fetch_models.py
	$(BIN)/python -m pytest -m local_models --no-header -q

bench: install ## latency, load time, memory, throughput of the default router; overhead of the plug-ins; import times
	$(BIN)/python -m benchmarks.bench_router
	$(BIN)/python -m benchmarks.bench_plugins
	$(BIN)/python -m benchmarks.bench_imports

train: install ## train the embedded router again from the outcome tables in $(DATA)
	$(BIN)/python -m benchmarks.train_default_router --data $(DATA)

compare: install ## print the table of compared methods, leaving whole sources out, from the outcome tables in $(DATA)
	$(BIN)/python -m benchmarks.compare_routers --data $(DATA)

bench-peers: install ## our router beside others', each in an environment of its own (.venv-peers), on the outcome tables in $(DATA)
	$(BIN)/python -m benchmarks.bench_peers --data $(DATA)
	$(BIN)/python -m benchmarks.mt_bench --data $(DATA)

leakage: install ## near-duplicates between the embedded router's training rows and the benchmarks
	$(BIN)/python -m benchmarks.leakage --data $(DATA)

docs: install ## build the API pages into site/
	$(BIN)/pdoc --output-directory site --docformat google shared_router langchain_hybrid llamaindex_hybrid

build: install ## build the wheel and the source distribution into dist/
	$(BIN)/python -m build

clean: ## remove what the targets made, except downloaded models
	rm -rf $(VENV) .venv-peers site dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
