# Two targets do everything on a fresh machine with Python 3.11 or newer: make demo, make test.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.PHONY: demo test test-fast docs lint clean

demo: $(INSTALLED)
	$(BIN)/caseunet demo --out demo --overwrite

test: lint
	$(BIN)/python -m pytest

# The tests that need no training: quick enough for every save of a file.
test-fast: $(INSTALLED)
	$(BIN)/python -m pytest tests/test_architecture.py tests/test_config.py tests/test_types.py tests/test_files.py tests/losses \
		tests/metrics tests/imaging tests/quality tests/datasets/test_coding.py tests/datasets/test_splits.py

docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The second package holds the demo's CT volume; its own requirements are years old and not wanted.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps liver-ct-segmentation-package==1.6.0
	touch $(INSTALLED)

clean:
	rm -rf $(VENV) build src/*.egg-info .mypy_cache .ruff_cache .hypothesis demo site
