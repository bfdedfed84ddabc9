# `make demo` and `make test` need nothing but Python 3.11 to 3.14: they make .venv and install into it.
# Overridable: PYTHON (which interpreter makes the environment), VENV (where it lies), ARGS (for pytest and chaos),
# MINUTES and SEED (for chaos and soak).

# Ray has no build for a newer one.
FITS := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import ensurepip; $(FITS)' >/dev/null 2>&1 && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Without bytecode each of the hundred processes that demo and tests start compiles torch and Ray anew, which takes as
# long as all else that it does.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo test test-fast test-slow chaos soak eight-nodes soak-nodes lock oldest image-check check format bench clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

install: $(STAMP) ## Make .venv and install vgim in it, for development

# Once, and again when pyproject.toml changes. Bytecode is left to the first import of what is used: compiling all
# that torch and Ray bring takes longer.
$(STAMP): pyproject.toml
	@test -x $(BIN)/python || "$(PYTHON)" -c '$(FITS)' 2>/dev/null || { \
		echo "vgim needs Python 3.11 to 3.14 with the venv module, which $(or $(PYTHON),python3) is not." >&2; \
		echo "Name one, for example: make $(MAKECMDGOALS) PYTHON=/usr/bin/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	@echo "installing vgim and what it needs into $(VENV)"
	@$(BIN)/python -m pip install -qq --no-compile --disable-pip-version-check -e '.[dev]'
	@touch $@

# cluster.workers=0 spares the decoder Ray's start; a quarter of the training utterances spares the probe three quarters
# of its time for one to three points of accuracy.
demo: $(STAMP) ## Make a corpus, prepare it, train an encoder and a decoder, probe, look at latents, report
	$(BIN)/vgim data synth --out corpora/quickstart
	$(BIN)/vgim data prepare librispeech --corpus corpora/quickstart --out shards/quickstart
	$(BIN)/vgim train configs/quickstart.yaml data.shards=shards/quickstart storage.root=runs
	$(BIN)/vgim decode train runs/quickstart --module 0 --loss mse+stft train.batch_size=8 train.epochs=10 \
		optim.learning_rate=1e-3 cluster.workers=0
	$(BIN)/vgim probe runs/quickstart --task phone --all-modules --encoder trained --encoder random --encoder mfcc \
		--max-utterances 72
	$(BIN)/vgim latents runs/quickstart --module 0
	$(BIN)/vgim report runs/quickstart
	@echo "open that page in a browser; the curves are also in: $(BIN)/tensorboard --logdir runs"

# In two processes, of which one runs what uses Ray; a choice of tests in one, where debuggers work. A process that
# crashes ends the tests: with another in its place, pytest-xdist would wait for ever.
IN_TWO := -n 2 --max-worker-restart=0

test: $(STAMP) ## Run the whole test suite (ARGS='-k config' to choose)
	$(BIN)/python -m pytest $(or $(ARGS),$(IN_TWO))

test-fast: $(STAMP) ## Run the tests that take seconds each
	$(BIN)/python -m pytest $(IN_TWO) -m 'not slow'

test-slow: $(STAMP) ## Run the tests that compile or wait for many processes to start
	$(BIN)/python -m pytest -m slow

SEED ?= 0

chaos: $(STAMP) ## Attack vgim: kills, signals, full disks, damaged files, races, malformed input (MINUTES=30 SEED=0)
	$(BIN)/python -m tests.chaos --minutes $(or $(MINUTES),30) --seed $(SEED) $(ARGS)

soak: $(STAMP) ## Kill one run again and again, and compare it with one that was left alone (MINUTES=60 SEED=0)
	$(BIN)/python -m tests.chaos.soak --minutes $(or $(MINUTES),60) --seed $(SEED)

eight-nodes: $(STAMP) ## Run all jobs on a simulated cluster of eight nodes (as root, with iproute2)
	VGIM_NODES=1 $(BIN)/python -m pytest tests/test_eight_nodes.py

soak-nodes: $(STAMP) ## Attack the nodes of a simulated cluster under a run, a sweep and a probe (SEED=0; as root, with iproute2)
	$(BIN)/python -m tests.simulated_soak $(SEED)

lock: $(STAMP) ## Write deploy/requirements-*.txt anew, in the versions of .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check uv
	$(BIN)/python deploy/lock.py

oldest: $(STAMP) ## Run the fast tests with the oldest versions that pyproject.toml allows, in .venv-oldest
	@$(BIN)/python -m pip install -qq --disable-pip-version-check uv
	$(BIN)/python -m tests.oldest $(ARGS)

image-check: $(STAMP) ## Build the image's root from deploy/Dockerfile without Docker, as root, and run it (ARGS=--help)
	$(BIN)/python -m tests.image $(ARGS)

check: $(STAMP) ## Lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP) ## Put imports and formatting right
	$(BIN)/ruff check --select I --fix .
	$(BIN)/ruff format .

bench: $(STAMP) ## Run every benchmark
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

clean: ## Remove caches and build leftovers; .venv, corpora, shards and runs stay
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find vgim ray_jobs tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
