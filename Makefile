# Everything that this project does. The README lists the same steps without make.
PYTHON ?= python3
VENV := $(CURDIR)/.venv
# Where compiled modules are not kept, every start of Python takes seconds longer.
unexport PYTHONDONTWRITEBYTECODE
export PATH := $(VENV)/bin:$(PATH)
READY := $(VENV)/.ready
.DEFAULT_GOAL := help
.PHONY: help setup data repro repro-cinic10 full-width scale industrial test lint unit pipeline notebooks figures lab clean

help:  ## list the commands
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1#/p' $(MAKEFILE_LIST) | awk -F'#' '{printf "  make %-13s %s\n", $$1, $$2}'

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
	@echo "== pipeline: notebooks 01 to 06 and 08, and the published results"
	dvc repro
	@python -m btsee_lib.pipeline times

# An experiment over params.yaml: its results are in the workspace, the name that DVC gives it in "dvc exp show".
# "set -f", since the lists among the parameters look like patterns of file names.
repro-cinic10: setup  ## the paper's scale: CINIC-10, full width, 5 seeds, on a GPU (profiles/cinic10.yaml)
	@set -f; dvc exp run $$(python -m btsee_lib.pipeline overrides cinic10)

full-width: setup  ## full width on Fashion-MNIST, 5 seeds, on a GPU, into reports/full_width
	dvc repro --single-item --force full_width

scale: setup  ## measure again how time and memory grow with images and width
	rm -f reports/tables/scaling.csv
	dvc repro --single-item --force scaling
	@echo "'dvc repro' brings notebook 08 up to date"

industrial: setup  ## a second domain: solar cells (90 MB, at most 6 minutes on two cores)
	@echo "== images of solar cells: the package of requirements-industrial.txt"
	pip install --quiet --disable-pip-version-check --no-compile -r requirements.txt -r requirements-industrial.txt -c constraints.txt
	pytest -m industrial
	cd industrial && dvc repro
	@echo "Results: industrial/reports"

test: lint unit pipeline notebooks  ## run everything that checks the project

lint: setup  ## style
	ruff check .
	ruff format --check .

unit: data  ## unit tests (about two minutes)
	pytest -n 2 --dist loadfile

pipeline: data  ## the whole pipeline at toy size in three temporary clones
	@echo "== the pipeline at toy size: about 8 minutes until it says a word"
	pytest -m pipeline

notebooks: data  ## run the executed notebooks again and compare their outputs
	@echo "== the executed notebooks once more: 3 minutes, or 14 where nothing has been trained yet"
	TQDM_DISABLE=1 pytest --nbval --nbval-current-env -p no:cacheprovider reports/notebooks

figures: setup  ## draw the figures again from the tables in git, without training
	@python -m btsee_lib.pipeline figures

lab: setup  ## JupyterLab on the notebooks
	jupyter lab --notebook-dir=notebooks

clean:  ## remove what was made here; data/ and .venv stay
	rm -rf artifacts industrial/artifacts .dvc/cache .dvc/tmp .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
