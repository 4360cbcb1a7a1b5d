# make demo · make test · make check · make bench · make clean
# Everything is installed into .venv; PYTHON chooses the interpreter (3.11 or newer).

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help demo test check bench clean install

help:
	@echo "make demo    set everything up and run the main job on this machine (about 2 minutes)"
	@echo "make test    set everything up and run the tests"
	@echo "make check   ruff, mypy --strict, import-linter"
	@echo "make bench   compare with peers, each figure a ratio from one run"
	@echo "make clean   remove what make made here"

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "make: Thresher needs Python 3.11 or newer, and '$(PYTHON)' is not. Install it (Debian: apt install python3) or name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "make: '$(PYTHON) -m venv' failed. Debian and Ubuntu keep it in a package of its own: apt install python3-venv" >&2; exit 1; }

$(STAMP): pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing into $(VENV) (the first time takes a minute)"
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]' || { \
	  echo "make: pip could not install the dependencies; it needs a package index (set PIP_INDEX_URL behind a mirror) and about 1 GB of disk" >&2; exit 1; }
	@command -v cc >/dev/null || command -v gcc >/dev/null || command -v clang >/dev/null || { \
	  echo "no C compiler found: installing PyPI's ziglang to build the runner"; \
	  $(BIN)/python -m pip install --quiet --constraint constraints.txt ziglang; } || { \
	  echo "make: no C compiler. Install one (Debian: apt install gcc) or: $(BIN)/pip install ziglang" >&2; exit 1; }
	@touch $@

install: $(STAMP)

demo: $(STAMP)
	@$(BIN)/thresher demo

test: $(STAMP)
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

bench: $(STAMP)
	@$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info demo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
