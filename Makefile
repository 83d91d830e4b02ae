# `make quickstart` and `make test` work on a bare machine with Python 3.11 or newer, git and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
unexport PYTHONDONTWRITEBYTECODE  # where it is set, every process compiles every module anew

.PHONY: quickstart test test-long test-fast check format docs notebooks release-check clean

quickstart: $(VENV)/.installed  ## install, then train, evaluate, predict and explain on real digits
	$(BIN)/nommer demo --overwrite

test: $(VENV)/.installed-dev  ## every test but the longest
	$(BIN)/pytest -n 2 --dist worksteal -m "not long"

test-long: $(VENV)/.installed-dev  ## those: the demo, real data, many processes, large exports
	$(BIN)/pytest -n 2 --dist worksteal -m long

test-fast: $(VENV)/.installed-dev  ## a few files of every room, without real data and long processes
	$(BIN)/pytest -n 2 --dist worksteal -m "not slow" @tests/fast.txt

check: $(VENV)/.installed-dev  ## what CI checks besides the tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/.installed-docs  ## the docs site in build/site, without warnings; open build/site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

notebooks: $(VENV)/.installed-docs  ## run docs/notebooks again, in place (minutes)
	$(BIN)/python tools/run_notebooks.py

release-check: $(VENV)/.installed-dev  ## what must hold of the files that are published; RELEASE=--borrow downloads nothing
	$(BIN)/pip install --quiet --no-compile --editable '.[release]'
	$(BIN)/python tools/release_check.py $(RELEASE)

clean:
	rm -rf $(VENV) build dist runs .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "nommer needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; try: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo 'Python lacks its venv module; on Debian: apt install python3-venv'; exit 1; }

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --no-compile --editable '.[train,explain,export]'
	$(BIN)/python -c "import torchvision; torchvision.ops.nms"
	touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --no-compile --editable '.[dev]'
	$(BIN)/python -c "import torchvision; torchvision.ops.nms"
	touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: pyproject.toml | $(VENV)/.installed
	$(BIN)/pip install --quiet --no-compile --editable '.[docs]'
	touch $@
