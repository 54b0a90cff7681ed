# Each target works on a fresh checkout with nothing but Python 3.11+ and make.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: quickstart test check format benchmark clean

quickstart: .venv/installed ## the whole path on the sample: pretrain, linear evaluation, report
	$(BIN)/ulna quickstart --out quickstart/$$(date +%Y%m%d-%H%M%S)

test: .venv/installed ## all tests: CPU only, no network
	$(BIN)/python -m pytest -n auto

check: .venv/installed ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

benchmark: .venv/installed ## speed and memory on this machine, against padded training
	$(BIN)/python -m benchmarks

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv quickstart

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
