# `make demo` and `make test` do all the set-up they need. `make help` lists the rest.

PYTHON ?= python3
CORES ?= $(shell nproc 2>/dev/null || echo 2)
BIN := .venv/bin

.PHONY: help demo images test lint benchmark clean

help:
	@echo "make demo       make .venv, run the default studies on simulated EEG, build results/site"
	@echo "make images     build the container images of all environments (needs Apptainer)"
	@echo "make test       make .venv, check style, run all tests"
	@echo "make lint       check style only"
	@echo "make benchmark  measure against peer packages (minutes; not part of the tests)"
	@echo "make clean      remove results/ and logs/; keeps .venv"

.venv/run.stamp: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11")'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "this Python can not make environments; on Debian: apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

.venv/test.stamp: .venv/run.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	@touch $@

demo: .venv/run.stamp
	$(BIN)/snakemake --profile config/profiles/local --cores $(CORES)
	$(BIN)/snakemake --profile config/profiles/local --cores 1 --report results/report.html
	@$(BIN)/python scripts/show_claims.py results/claims.tsv
	@echo
	@echo "Open $(CURDIR)/results/site/index.html"

images: .venv/run.stamp
	$(BIN)/python scripts/build_images.py

lint: .venv/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint

test: lint
	$(BIN)/python -m pytest -n logical --dist loadfile --no-loadscope-reorder --durations 20

benchmark: .venv/test.stamp
	@for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf results logs
