# Each target sets up what it needs; `make help` lists them.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# A data folder (MovieLens, S3-Rec sequences, …); empty: the embedded synthetic set.
DATA   ?=
# A built-in cascade of the offline experiments.
CASCADE ?= C
# The bench's PDLP solver, run in a process of its own; without its dependencies, which would move pinned ones.
PDLP   := ortools==9.15.6755 absl-py==2.5.1 immutabledict==4.3.1
# Name of the run's folder below runs/; by default the data's name.
NAME   ?= $(if $(DATA),$(notdir $(patsubst %/,%,$(DATA))),demo)

.DEFAULT_GOAL := help
.PHONY: help setup demo evaluate test test-all lint bench bill clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## create .venv with the pinned requirements

$(READY): requirements.txt pyproject.toml
	@echo "setting up $(VENV) with $(PYTHON) (once; a minute or two)"
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 13) else f"Python 3.11 or 3.12 is needed, {sys.executable} is {v[0]}.{v[1]}; set PYTHON=/path/to/python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the pinned requirements; pip's words go to $(VENV)/setup.log"
	@{ $(PIP) torch==2.13.0 && $(PIP) -r requirements.txt && $(PIP) --no-deps --no-build-isolation -e .; } \
		> $(VENV)/setup.log 2>&1 || { cat $(VENV)/setup.log >&2; exit 1; }
	@touch $@

demo: $(READY) ## run the main job: data, models, reward, serve, traffic, report (DATA=folder, NAME=run)
	@$(BIN)/greenflow demo --run runs/$(NAME) $(if $(DATA),--data $(DATA)) $(ARGS)

evaluate: $(READY) ## the offline experiments (DATA=folder, CASCADE=C, D or A); resumes where it was stopped
	@$(BIN)/greenflow evaluate --cascade $(CASCADE) $(if $(DATA),--data $(DATA)) $(ARGS)

# Two processes: Ray and what it starts in one, the rest in the other.
TEST   := -m pytest -n 2 --no-loadscope-reorder

test: $(READY) ## run the tests, a whole line through real Ray Serve included
	@$(BIN)/python $(TEST) -m "not long" $(ARGS)

test-all: $(READY) ## the same, faults under load and property tests in full (a quarter of an hour)
	@$(BIN)/python $(TEST) --hypothesis-profile thorough $(ARGS)

lint: $(READY) ## ruff (lint and format) and mypy --strict
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: $(READY) ## measure; JSON into runs/bench/ (DATA=folder for the loop's)
	@$(PIP) --no-deps $(PDLP)
	@$(BIN)/python -m tests.benchmarks.price --out runs/bench/price.json
	@$(BIN)/python -m tests.benchmarks.data --out runs/bench/data.json
	@$(BIN)/python -m tests.benchmarks.serving --out runs/bench/serving.json
	@$(BIN)/python -m tests.benchmarks.kill --out runs/bench/kill.json
	@$(BIN)/python -m tests.benchmarks.faults --out runs/bench/faults.json
	@$(BIN)/python -m tests.benchmarks.loop --out runs/bench/loop.json $(if $(DATA),--data $(DATA))
	@$(BIN)/python -m tests.benchmarks.fuzz --out runs/bench/fuzz.json

bill: $(READY) ## train the paper-sized cascade, then CPU-seconds, joules and capacity of three arms (DATA=folder; 40 minutes)
	@test -d runs/paper/data || $(BIN)/greenflow prepare --run runs/paper --config greenflow_ray/cascades/paper.yaml $(if $(DATA),--data $(DATA))
	@$(BIN)/greenflow train --run runs/paper
	@$(BIN)/python -m tests.benchmarks.bill --run runs/paper --out runs/bench/bill.json --place gateway --capacity

clean: ## remove .venv, caches and runs/
	rm -rf $(VENV) runs build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
