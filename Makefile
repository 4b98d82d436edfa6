# `make demo` and `make test` do all set-up themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
.DEFAULT_GOAL := help

.PHONY: help setup clients demo test lint fuzz simulate soak bench bench-packets protos docs clean

help:
	@echo 'make demo    the main job, end to end, in about a minute'
	@echo 'make test    every test'
	@echo 'make clients ROOT, coffea and dask, for the tests that skip without them'
	@echo 'make lint    ruff, mypy --strict, the layers of the house'
	@echo 'make fuzz    a minute of looking for bytes that break root://; FUZZ_S=600 for ten'
	@echo 'make simulate  clusters under faults, SEEDS=1000 of them from SEED0=0 on; SEEDS=1 tells the story'
	@echo 'make soak    kill -9 at 200 random moments, SIGSTOP, full and read-only disks; half an hour'
	@echo 'make bench   measurements, as ratios to peers in the same run'
	@echo 'make bench-packets SEEDS=10 SEED0=1   makespans of a simulated cluster over the bound'
	@echo 'make docs    the generated pages of docs/'
	@echo 'make protos  the stubs of protos/, from the .proto files'

setup: $(READY)

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[analysis]' --group test --group lint
	@touch $@

clients: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group analysts

demo: $(READY)
	@$(BIN)/python -m examples.demo

test: $(READY)
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

FUZZ_S ?= 60
fuzz: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group fuzz
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_S)

SEEDS ?= 1000
SEED0 ?= 0
simulate: $(READY)
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) --seed0 $(SEED0)

SOAK ?= --kills 200 --freeze 60 --lease 30
soak: $(READY)
	unshare --user --map-root-user --mount $(BIN)/python -m tests.soak $(SOAK)
bench-packets: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group bench
	@$(BIN)/python -m benchmarks.makespan $(or $(SEEDS),10) $(or $(SEED0),1)

bench: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group bench
	@$(BIN)/python -m benchmarks

docs: $(READY)
	$(BIN)/python -m packhorse.cli.reference docs

protos: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group protos
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -I . --python_out=. --mypy_out=. --grpc_python_out=. --mypy_grpc_out=. protos/packhorse/v1/*.proto

clean:
	rm -rf $(VENV) build dist
