# Everything that this project does. The README lists the same steps without make.
PYTHON ?= python3
VENV := $(CURDIR)/.venv
# Where compiled modules are not kept, every start of Python takes seconds longer.
unexport PYTHONDONTWRITEBYTECODE
export PATH := $(VENV)/bin:$(PATH)
READY := $(VENV)/.ready
.DEFAULT_GOAL := help
.PHONY: help setup data repro test lint unit pipeline notebooks figures lab clean

help:  ## list the commands
	@sed -n 's/^\([a-z]*\):.*## /\1#/p' $(MAKEFILE_LIST) | awk -F'#' '{printf "  make %-10s %s\n", $$1, $$2}'

$(READY): requirements.txt constraints.txt pyproject.toml
	@echo "== environment: .venv with the pinned packages (about 2 minutes, once)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-compile -r requirements.txt -c constraints.txt
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

setup: $(READY)  ## virtual environment with the pinned packages
	@python -m btsee_lib.pipeline check

data: setup  ## fetch and verify the data set (30 MB)
	@python -m btsee_lib.pipeline data

repro: data  ## make every figure, table and executed notebook (dvc repro)
	@echo "== pipeline: 01 to 06 and the published results (about 14 minutes on two cores the first time)"
	dvc repro
	@python -m btsee_lib.pipeline times

test: lint data  ## run everything that checks the project
	@echo "== unit tests, and beside them the pipeline at toy size: about 5 minutes until either says a word"
	@$(MAKE) --no-print-directory -j2 --output-sync=target unit pipeline
	@echo "== the executed notebooks once more: 2 minutes, or 12 where nothing has been trained yet"
	@$(MAKE) --no-print-directory notebooks

lint: setup  ## style
	ruff check .
	ruff format --check .

unit: data  ## unit tests (about two minutes)
	pytest

pipeline: data  ## the whole pipeline at toy size in two temporary clones (about 5 minutes)
	pytest -m pipeline

notebooks: data  ## run the executed notebooks again and compare their outputs
	TQDM_DISABLE=1 pytest --nbval --nbval-current-env -p no:cacheprovider reports/notebooks

figures: setup  ## draw the figures again from the tables in git, without training
	@python -m btsee_lib.pipeline figures

lab: setup  ## JupyterLab on the notebooks
	jupyter lab --notebook-dir=notebooks

clean:  ## remove what was made here; data/ and .venv stay
	rm -rf artifacts .dvc/cache .dvc/tmp .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
