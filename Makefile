# Needs Python >= 3.11 and make, nothing else:
#   make demo    see it at work: trains on the embedded sample, writes a report and a gallery
#   make test    the whole test suite
#   make check   what has to pass before a commit: format, lint, types, documentation, tests
#   make docs    the documentation as a site in site/, which works offline
#   make clean   remove what these made
#   make test-lowest   the test suite with the lowest versions that pyproject.toml allows, in an environment of its own

PYTHON ?= python3
VENV ?= .venv
DEMO ?= --data sample --model cnn5 --accum 4 --recipe assignment --batch-size 8 --epochs 10
PYTEST ?= -n auto

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

LOWEST ?= .venv-lowest

.PHONY: demo test test-lowest check format lint types docs clean

demo: $(VENV)/.installed
	$(BIN)/ahekit train $(DEMO)
	$(BIN)/ahekit report
	$(BIN)/ahekit predict "$$($(BIN)/ahekit data where sample)/test" --model "$$(ls -td runs/*/ | head -1)" --out demo-survey

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest $(PYTEST)

# Not a part of check: it installs a second torch, which takes longer than all the rest.
# Old libraries that call newer ones by names that are going out are none of ours to mend.
test-lowest: $(LOWEST)/.installed-dev
	$(LOWEST)/bin/python -m pytest $(PYTEST) -W default::DeprecationWarning -W default::PendingDeprecationWarning

check: lint types docs test

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

docs: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

clean:
	rm -rf $(VENV) $(LOWEST) build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

# A stamp file newer than what it was installed from: nothing is installed twice.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "ahekit needs Python 3.11 or newer and '$(PYTHON)' is not; name one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; \
	  exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml constraints.txt
	$(PIP) install -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.made pyproject.toml constraints.txt
	$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $(VENV)/.installed $@

$(LOWEST)/.installed-dev: pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip --disable-pip-version-check install -c constraints-lowest.txt -e '.[dev]'
	@touch $@
