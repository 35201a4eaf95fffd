# SPDX-License-Identifier: Apache-2.0
# `make lab` shows ashore at work; `make test` runs everything that has to hold. Both set up what they need themselves.

PYTHON ?= python3
BIN := .venv/bin
PATHS := src tests

.PHONY: help lab lab-down test bootstrap tools lint fmt clean

help:
	@echo "make lab       make the two-cluster lab and show it at work"
	@echo "make lab-down  take the lab down; nothing of it is left"
	@echo "make test      lint, types, import contracts and all tests"
	@echo "make tools     fetch or build the programs that both need (done once, cached)"
	@echo "make lint      lint, types and import contracts alone"
	@echo "make fmt       format the code"
	@echo "make clean     remove the Python environment and tool caches of this checkout"

bootstrap:
	@PYTHON="$(PYTHON)" scripts/bootstrap
	@$(MAKE) --no-print-directory -s $(BIN)/ashore-cni

# Agents install it in place of the interpreted shim: 1 ms of CPU time for each pod instead of 25.
$(BIN)/ashore-cni: src/ashore/cni/shim.c
	gcc -std=c11 -O2 -Wall -Wextra -Werror -static -s -o $@ $<

tools: bootstrap
	@$(BIN)/ashore lab tools --brief

lab: tools
	@$(BIN)/ashore lab up

lab-down: bootstrap
	@$(BIN)/ashore lab down

lint: bootstrap
	$(BIN)/ruff check $(PATHS)
	$(BIN)/ruff format --check $(PATHS)
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint tools
	$(BIN)/pytest --every-tier $(PYTEST_ARGS)

fmt: bootstrap
	$(BIN)/ruff format $(PATHS)
	$(BIN)/ruff check --fix $(PATHS)

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
