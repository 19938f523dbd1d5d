# `make repro` runs the DAG and `make test` runs all tests; both install what they need first. `make help` lists the rest.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
export DO_NOT_TRACK := 1

.PHONY: repro ablations test bench peers setup lint ui ui-stop lock data clean help

repro: setup  ## run the DAG at the scale in params.yaml, or at SCALE=smoke, toy, small, ...
	@herd repro $(if $(SCALE),--scale $(SCALE))

ablations: setup  ## run the second pipeline: what single choices of the recipe are worth, on the outputs of the first
	dvc repro ablations/dvc.yaml

test: setup data lint  ## run all tests; offline once the data are there
	python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

bench: setup  ## measure speed and quality against peers, in turns in the same run
	python -m bench.dedup
	python -m bench.dedup_stage
	python -m bench.extraction
	python -m bench.training
	python -m bench.generation
	python -m bench.checkpoint

peers: setup  ## install the packages that only the benchmarks compare with
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target .herd/peers -r bench/peers.txt

setup: $(VENV)/.installed  ## create .venv with the locked packages and the command `herd`

$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

data: setup  ## fetch the packages whose pages the smoke scale and the tests read
	python -m stages.curation.pages.archives --only trafilatura,htmldate,formasaurus,chardet,mpmath,pygments,datatrove

lint: setup  ## run ruff, mypy and import-linter
	ruff check .
	ruff format --check .
	mypy
	lint-imports

ui: setup  ## start the pages of Prefect and MLflow
	herd ui start

ui-stop: setup  ## stop both pages
	herd ui stop

lock:  ## pin the packages that pyproject.toml asks for in requirements.lock
	$(BIN)/pip-compile --quiet --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --extra test --output-file requirements.lock pyproject.toml
	sed -i 's/+cpu$$//' requirements.lock

clean:  ## remove what runs have written; downloads are kept
	rm -rf data models curves reports metrics dvc.lock .dvc/cache .dvc/tmp .herd/events .herd/scratch .herd/partial

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'
