# `make` or `make help` lists what there is. Python 3.11 or later is all that is needed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help install run test check fix lock guide screenshots space bench dev browser

help: ## List these commands
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 14

install: $(VENV)/.installed ## Make the environment and start nothing

run: install ## Serve the app (options: make run ARGS="--help")
	$(BIN)/python app.py $(ARGS)

test: dev browser ## Run all tests (some of them: make test ARGS="-k word")
	$(BIN)/python -m pytest $(ARGS)

check: dev ## Check format, style and types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

fix: dev ## Format the code and mend what ruff can
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

# Not after `install`: pins that no longer fit cannot be installed, and this mends them.
lock: | $(BIN)/pip ## Pin what requirements.txt needs (newer pins: make lock UPGRADE=1)
	$(BIN)/pip install --quiet packaging
	$(BIN)/python -m tools.lock $(if $(UPGRADE),--upgrade)

guide: install ## Build the pocket guide
	$(BIN)/python -m tools.pocket_guide

screenshots: dev browser ## Take the screenshots of the documentation
	$(BIN)/python -m tools.screenshots

space: install ## Make a Hugging Face Space in build/space (TORCH=2.9.1 MODEL=id LOGIN=1 UPLOAD=owner/name)
	$(BIN)/python -m tools.space $(if $(TORCH),--torch $(TORCH)) $(if $(MODEL),--model $(MODEL)) \
	  $(if $(LOGIN),--login) $(if $(UPLOAD),--upload $(UPLOAD))

bench: $(VENV)/.installed-bench ## Measure speed and memory (options: make bench ARGS="--quick")
	$(BIN)/python -m tools.bench $(ARGS)

dev: $(VENV)/.installed-dev

browser: dev
	$(BIN)/python -m tools.browser

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or later is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

# The stamps are inside the environment: whoever deletes it deletes them too.
$(VENV)/.installed: requirements.txt | $(BIN)/pip
	$(BIN)/pip install --requirement requirements.txt
	touch $@

# An extra alone: the app is run from this folder and never built or installed.
$(VENV)/.installed-%: pyproject.toml $(VENV)/.installed
	$(BIN)/pip install --constraint requirements.txt $$($(BIN)/python -c \
	  'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["$*"])')
	touch $@
