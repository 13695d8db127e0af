# make demo   train, evaluate and reconstruct on embedded data; the report is runs/demo/report.html
# make test   style, types, layers and the test suite
# make test-all   the same with more examples of each property, and again as on a processor with AVX2 alone
# make bench  speed and memory, as ratios measured side by side, in half an hour; runs/bench/bench.json
# make crash  kills trainings and saves at random moments, and counts what comes back to the bits
# make fuzz   mutates small scans of every format for a minute and reads them, then 10,000 scanner streams
# make mutants  changes the source in small ways and counts the changes that no test finds; FILES=physics/operators.py ...
# make docs  builds the site of the documentation in runs/site, without a network
# make dist   builds dist/*.whl and *.tar.gz, installs each into an empty environment and tries it
# make audit  asks the vulnerability database about every pinned package; needs a network
# make sbom   writes runs/sbom.json, all that is installed (CycloneDX)
# All make the virtual environment .venv first. Only Python 3.11 or newer and make are needed.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
AUDIT := runs/audit
PACKING := runs/packing
MUTANTS := runs/mutants

.PHONY: demo test test-all bench crash fuzz mutants docs dist audit sbom check setup clean

demo: setup
	$(BIN)/switchrecon demo --out runs/demo

test: check
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

# What computes with networks asks what the processor has.
ASKING := $(addprefix tests/,core nets methods training reconstruction test_stored.py test_benchmarks.py test_processors.py)

test-all: check
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m ""
	SWITCHRECON_TEST_PROCESSOR=avx2 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder $(ASKING)

bench: setup
	$(BIN)/python benchmarks/bench.py --out runs/bench/bench.json

crash: setup
	$(BIN)/python benchmarks/crash.py --out runs/crash/crash.json

fuzz: setup
	$(BIN)/python benchmarks/fuzz.py --out runs/fuzz
	$(BIN)/python benchmarks/fuzz_streams.py --out runs/fuzz

mutants: setup $(MUTANTS)/.installed
	$(MUTANTS)/bin/python benchmarks/mutants.py --out $(MUTANTS) $(FILES)

# The packages of .venv are lent by a path file, which does not bring the editable package: the changed copy is tested.
$(MUTANTS)/.installed: benchmarks/mutants.py
	$(PYTHON) -m venv $(MUTANTS)
	$(MUTANTS)/bin/python -m pip install --quiet --constraint constraints.txt 'mutmut>=3.8,<4'
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > $$($(MUTANTS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/lent.pth
	@touch $@

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo 'the site: runs/site/index.html'

dist: setup $(PACKING)/.installed
	rm -rf dist
	$(PACKING)/bin/python -m build --outdir dist
	$(PACKING)/bin/twine check --strict dist/*
	.ci/dist dist

$(PACKING)/.installed:
	$(PYTHON) -m venv $(PACKING)
	$(PACKING)/bin/python -m pip install --quiet 'build>=1.2,<2' 'twine>=6,<7'
	@touch $@

# A package that cannot be looked up is a failure, too.
audit: $(AUDIT)/.installed
	$(AUDIT)/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --strict --progress-spinner off

sbom: setup $(AUDIT)/.installed
	$(AUDIT)/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --output-reproducible --output-file runs/sbom.json

$(AUDIT)/.installed:
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet 'pip-audit>=2.7,<3' 'cyclonedx-bom>=4.6,<8'
	@touch $@

check: setup
	$(BIN)/ruff check src tests benchmarks docs/_build docs/tutorials
	$(BIN)/ruff format --check src tests benchmarks docs/_build docs/tutorials
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
	rm -rf .venv runs dist
