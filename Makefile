# Each target works on a fresh checkout with nothing but Python 3.11+ and make.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: quickstart test check format package benchmark clean

quickstart: .venv/installed ## few labels on the sample: the ready encoder, an encoder pretrained here, reports
	$(BIN)/ulna quickstart --out quickstart/$$(date +%Y%m%d-%H%M%S)

test: .venv/installed ## all tests: CPU only, no network
	$(BIN)/python -m pytest -n auto --dist worksteal

check: .venv/installed ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

package: .venv/installed ## build sdist and wheel, and run the wheel's quickstart in an empty environment
	rm -rf dist build/package
	$(BIN)/python -m build --outdir dist
	$(PYTHON) -m venv build/package
	build/package/bin/python -m pip install --quiet --constraint constraints.txt torch
	build/package/bin/python -m pip install --quiet --constraint constraints.txt dist/*.whl
	cd build/package && bin/ulna --version && bin/ulna quickstart --draws 1 --epochs 1 --out quickstart

benchmark: .venv/installed ## speed and memory on this machine, against padded training
	$(BIN)/python -m benchmarks

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build dist quickstart

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
