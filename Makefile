# Two commands are enough: `make repro` runs the whole herd, `make test` all tests. Both set up what they need first.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
export DO_NOT_TRACK := 1

.PHONY: repro ablations test bench peers setup lint ui ui-stop lock data clean

repro: setup  ## run the DAG at the scale in params.yaml, or at SCALE=smoke, toy, small, ...
	$(if $(SCALE),python -m flows.scale $(SCALE))
	@python -m flows.outlook
	@python -m flows.reproduce
	@python -m flows.outlook --done

ablations: setup  ## what single choices of the recipe are worth: the second pipeline, on the outputs of the first
	dvc repro ablations/dvc.yaml

test: setup data lint  ## everything that must hold, offline from here on
	python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

bench: setup  ## speed and quality beside peers, measured in turns in the same run
	python -m bench.dedup
	python -m bench.dedup_stage
	python -m bench.extraction
	python -m bench.training
	python -m bench.generation
	python -m bench.checkpoint

peers: setup  ## what benchmarks compare with and nothing else needs
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target .herd/peers -r bench/peers.txt

setup: $(VENV)/.installed

$(VENV)/.installed: requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	touch $@

data: setup  ## fetch the packages whose pages the smoke scale reads
	python -m stages.curation.pages.archives --only trafilatura,htmldate,formasaurus,mpmath,pygments,datatrove

lint: setup
	ruff check .
	ruff format --check .
	mypy
	lint-imports

ui: setup  ## the Prefect and MLflow pages
	python -m flows.ui start

ui-stop: setup
	python -m flows.ui stop

lock:  ## pin anew what pyproject.toml asks for
	$(BIN)/pip-compile --quiet --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --extra test --output-file requirements.lock pyproject.toml
	sed -i 's/+cpu$$//' requirements.lock

clean:  ## removes what runs have made; downloads stay
	rm -rf data models curves reports metrics dvc.lock .dvc/cache .dvc/tmp .herd/events .herd/scratch .herd/partial
