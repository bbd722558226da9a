# Everything runs in $(VENV), made on first use. Override: make test PYTEST_ARGS="-m 'not slow'"
VENV ?= .venv
PYTHON ?= python3
PYTEST_ARGS ?=
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format typecheck bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# torch first and pinned: any later resolution finds it satisfied and pulls no CUDA build.
$(READY): pyproject.toml constraints.txt CMakeLists.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

setup: $(READY) ## make the virtual environment and install deltaport into it

demo: $(READY) ## small checkpoint -> engine -> generated tokens -> parity with transformers
	$(BIN)/python -m examples.demo

test: $(READY) ## run all tests
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(READY) ## check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## apply style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The rooms install as one package; mypy sees the same through a view made of links.
typecheck: $(READY) ## check types, strictly
	@mkdir -p build/typing/deltaport
	@ln -sfn $(addprefix $(CURDIR)/,$(wildcard src/deltaport/*)) build/typing/deltaport/
	@ln -sfn $(addprefix $(CURDIR)/,exporter graph_passes custom_ops runtime) build/typing/deltaport/
	$(BIN)/mypy -p deltaport

bench: $(READY) ## measure what the documentation claims
	$(BIN)/python benchmarks/export_memory.py

clean: ## remove the virtual environment and everything built
	rm -rf $(VENV) build dist demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
