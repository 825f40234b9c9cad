# Two targets do everything on a fresh machine with Python 3.11 or newer: make demo, make test.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

# Processes that run tests side by side.
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

.PHONY: demo install test test-fast coverage docs lint format typecheck clean

demo: $(INSTALLED)
	$(BIN)/caseunet demo --out demo --overwrite
	@echo "The program is $(BIN)/caseunet. To type only caseunet: source $(BIN)/activate"

install: $(INSTALLED)

test: lint
	$(PYTEST)

# All but the tests that train, predict or draw: quick enough for every save of a file.
test-fast: $(INSTALLED)
	$(PYTEST) -m "not slow"

# sysmon: Python 3.12 counts lines at nearly no cost, older versions fall back to the tracer.
coverage: $(INSTALLED)
	COVERAGE_CORE=sysmon $(PYTEST) --cov --cov-report=term:skip-covered

docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

lint: typecheck
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

typecheck: $(INSTALLED)
	$(BIN)/mypy

# The second package holds the demo's CT volume; its own requirements are years old and not wanted.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps liver-ct-segmentation-package==1.6.0
	touch $(INSTALLED)

clean:
	rm -rf $(VENV) build src/*.egg-info .mypy_cache .ruff_cache .hypothesis demo site
