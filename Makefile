# make demo   train, evaluate and reconstruct on embedded data; the report is runs/demo/report.html
# make test   style, types, layers and the test suite
# make bench  ratios of step times, measured side by side; runs/bench/bench.json
# Both make the virtual environment .venv first. Only Python 3.11 or newer and make are needed.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: demo test bench check setup clean

demo: setup
	$(BIN)/switchrecon demo --out runs/demo

test: check
	$(BIN)/pytest -n 2 --dist loadfile

bench: setup
	$(BIN)/python benchmarks/steps.py --out runs/bench/bench.json

check: setup
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "switchrecon needs Python 3.11 or newer, found %d.%d" % sys.version_info[:2])'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)

clean:
	rm -rf .venv runs
