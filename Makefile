# Everything that this project does. The README lists the same steps without make.
PYTHON ?= python3
VENV := .venv
# Where compiled modules are not kept, every start of Python takes seconds longer.
unexport PYTHONDONTWRITEBYTECODE
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
READY := $(VENV)/.ready
PROFILES := $(basename $(notdir $(wildcard profiles/*.yaml)))
ifneq ($(filter $(firstword $(PROFILE)),$(PROFILES)),$(strip $(PROFILE)))
  $(error no profile '$(PROFILE)' in profiles/: use one of $(PROFILES))
endif
# The folder of the experiment: the repository, or that of a profile (make repro PROFILE=cifar-10).
HOME_OF := $(if $(PROFILE),reports/$(PROFILE),.)
REPORTS := $(if $(PROFILE),reports/$(PROFILE),reports)
COPY := artifacts/verify
# As in the pipeline, without a user's own settings of IPython and matplotlib.
NBVAL := TQDM_DISABLE=1 IPYTHONDIR="$(CURDIR)/$(VENV)/ipython" MATPLOTLIBRC=/dev/null \
  MPLBACKEND=module://matplotlib_inline.backend_inline pytest --nbval --nbval-current-env -p no:cacheprovider
.DEFAULT_GOAL := help
.PHONY: help setup profile data repro scale rivals schemes fewer-images best joint backbones industrial clone test lint unit pipeline notebooks check artefacts verify figures readme explorer site slides lab clean

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
	@[ -e .git ] || dvc config --local core.no_scm true  # a download without history: DVC asks for none
	@python -m btsee_lib.pipeline check

profile: setup
	@$(if $(PROFILE),python -m btsee_lib.pipeline profile $(PROFILE))

data: profile  ## fetch and verify the data set (30 MB)
	@cd $(HOME_OF) && python -m btsee_lib.pipeline data

repro: data  ## make every figure, table and executed notebook (dvc repro); of a profile: PROFILE=cifar-10
	@echo "== pipeline: the notebooks, and the published results"
	cd $(HOME_OF) && dvc repro
	@echo "Results: $(REPORTS)/ (notebooks, figures, tables, model)"

scale: setup  ## measure again how time and memory grow with images and width (about 5 minutes)
	python examples/measure_scaling.py
	@echo "'dvc repro' brings notebook 08 up to date"

rivals: data  ## train narrower networks to set beside the cascades (an hour or more); of a profile: PROFILE=cifar-10
	cd $(HOME_OF) && python -m btsee_lib.pipeline rivals
	@echo "'dvc repro' brings notebooks 03 and 05 up to date"

schemes: artefacts  ## compare all ways to train a cascade (an hour or more); of a profile: PROFILE=cifar-10
	cd $(HOME_OF) && python -m btsee_lib.pipeline schemes
	@echo "'dvc repro' brings notebook 09 up to date, and what else reads reports/measured"

fewer-images: artefacts  ## what boosting gains on parts of the training images (half an hour); of a profile: PROFILE=cifar-10
	cd $(HOME_OF) && python -m btsee_lib.pipeline fewer-images
	@echo "'dvc repro' brings notebook 09 up to date, and what else reads reports/measured"

best: data  ## train and export the best scheme and rule that were found (minutes): PROFILE=cifar-10
	cd $(HOME_OF) && python -m btsee_lib.pipeline best

joint: artefacts  ## train backbone and branches together, to see what freezing costs (as long as the backbone takes)
	cd $(HOME_OF) && python -m btsee_lib.pipeline joint
	@echo "'dvc repro' brings notebook 09 up to date, and what else reads reports/measured"

backbones: data  ## the notebooks up to the claims on four more backbones (half an hour each); of a profile: PROFILE=cifar-10
	cd $(HOME_OF) && python -m btsee_lib.pipeline backbones
	@echo "'dvc repro' brings notebook 05 up to date"

industrial: setup  ## a second domain: solar cells (90 MB, at most 9 minutes on two cores)
	@echo "== images of solar cells: the package of requirements-industrial.txt"
	pip install --quiet --disable-pip-version-check --no-compile -r requirements.txt -r requirements-industrial.txt -c constraints.txt
	cd industrial && pytest tests
	cd industrial && dvc repro
	@echo "== the executed notebook and its solutions once more"
	OMP_NUM_THREADS=1 $(NBVAL) industrial/reports/notebooks industrial/reports/solutions
	@echo "Results: industrial/reports"

clone:
	@[ -e .git ] || { echo "this copies what git tracks: it needs a clone, made by git"; exit 1; }

test: clone lint unit pipeline notebooks  ## run everything that checks the project

lint: setup  ## style
	ruff check .
	ruff format --check .

unit: data  ## unit tests (about seven minutes)
	pytest -n 2 --dist loadfile

pipeline: clone data  ## the whole pipeline at toy size in temporary clones
	@echo "== the pipeline at toy size: minutes until it says a word"
	pytest -m pipeline tests/test_pipeline.py tests/data/test_damaged_inputs.py

notebooks: artefacts  ## run the executed notebooks and solutions again and compare their outputs
	@echo "== the executed notebooks once more, two at a time"
	OMP_NUM_THREADS=1 $(NBVAL) -n 2 --dist loadfile $(REPORTS)/notebooks $(wildcard $(REPORTS)/solutions)

check: notebooks  ## the same for a profile: make check PROFILE=cifar-10

artefacts: data
	@echo "== what takes long is trained first, where that has not been done yet"
	@cd $(HOME_OF) && python -m btsee_lib.pipeline artefacts

verify: clone data  ## run everything again from scratch in a copy and compare the claims; of a profile: PROFILE=cifar-10
	@git diff --quiet HEAD || { echo "commit your changes first: the copy is of the last commit"; exit 1; }
	rm -rf $(COPY)
	git clone --quiet . $(COPY)
	ln -s "$(CURDIR)/data" $(COPY)/data
	rm -rf $(addprefix $(COPY)/$(REPORTS)/measured/,backbone static_backbone studies cascades own_visits)
	@$(if $(PROFILE),cd $(COPY) && python -m btsee_lib.pipeline profile $(PROFILE))
	cd $(COPY)/$(HOME_OF) && PYTHONPATH="$(CURDIR)/$(COPY)" dvc repro --force
	@cd $(HOME_OF) && python -m btsee_lib.pipeline verify $(COPY)

figures: profile  ## draw the figures again from the tables in git, without training
	@cd $(HOME_OF) && python -m btsee_lib.pipeline figures

explorer: setup  ## write docs/explorer.html, sliders over the trained branches, from the artefacts that are there
	@python -m btsee_lib.pipeline explorer
	@python -m btsee_site.still

site: setup  ## notebooks, README, lesson plan and explorer as pages in site/ that open from disk
	@python -m btsee_site

slides: setup  ## notebooks as slides in site/slides; npm fetches reveal.js, which shows them
	@mkdir -p site/slides && rm -rf site/slides/*
	@cd site/slides && npm pack --silent reveal.js@4.6.1 requirejs@2.3.7 > /dev/null && \
	  tar xzf requirejs-*.tgz package/require.js && mv package/require.js . && tar xzf reveal.js-*.tgz && mv package reveal.js && rm *.tgz
	jupyter nbconvert --to btsee_site.site.SlideShow --no-input --reveal-prefix reveal.js --output-dir site/slides \
	  --SlidesExporter.require_js_url=require.js --SlidesExporter.jquery_url= --SlidesExporter.mathjax_url= \
	  --SlidesExporter.reveal_scroll=True reports/notebooks/*.ipynb

readme: setup  ## fill the README's tables from the results in git
	@python -m btsee_lib.pipeline readme

lab: setup  ## JupyterLab on the notebooks and their solutions
	jupyter lab --LabApp.default_url=/lab/tree/notebooks

clean:  ## remove what was made here, of all experiments; data/ and .venv stay. Of a profile: PROFILE=cifar-10
ifdef PROFILE
	rm -rf $(if $(wildcard reports/$(PROFILE)/dvc.yaml),artifacts/$(PROFILE))
else
	rm -rf artifacts site industrial/artifacts .dvc/cache .dvc/tmp .pytest_cache .ruff_cache .hypothesis
endif
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
