# make run     install what is needed and run the demo; options: make run ARGS="--exit"
# make test    install what the tests need and pass all of them; options: make test ARGS="-k doctor"
# make check   ruff, mypy --strict, import-linter
# make crash   kill and stop actions at every point of their life, for minutes; make test: a sample
# make lock    renew the pinned dependencies from pyproject.toml (needs uv)
# make clean   remove what make made

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
RUN_VENV := .venv-run
DEV_VENV := .venv-dev
RUN_LOCK := .ci/constraints-run.txt
DEV_LOCK := .ci/constraints-dev.txt
WORKERS ?= 2
ARGS ?=

.PHONY: help run test check crash lock clean install-run install-dev

help:
	@sed -n '1,/^$$/s/^# //p' Makefile

install-run:
	@.ci/install $(PYTHON) $(RUN_VENV) $(RUN_LOCK)

install-dev:
	@.ci/install $(PYTHON) $(DEV_VENV) $(DEV_LOCK)

run: install-run
	@exec $(RUN_VENV)/bin/prime-spark up --demo --stop-with-parent $(ARGS)

# Files go to the workers whole: their servers are started once for each.
test: install-dev
	@exec $(DEV_VENV)/bin/python -m pytest --numprocesses $(WORKERS) --dist loadfile $(ARGS)

check: install-dev
	$(DEV_VENV)/bin/ruff check .
	$(DEV_VENV)/bin/ruff format --check .
	$(DEV_VENV)/bin/mypy --strict
	$(DEV_VENV)/bin/lint-imports

crash: install-dev
	@CRASH_MATRIX=full exec $(DEV_VENV)/bin/python -m pytest -m crash $(ARGS)

COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links

lock:
	$(COMPILE) pyproject.toml .ci/build.in --extra dev -o $(DEV_LOCK)
	$(COMPILE) pyproject.toml .ci/build.in -c $(DEV_LOCK) -o $(RUN_LOCK)

clean:
	rm -rf $(RUN_VENV) $(DEV_VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache build dist *.egg-info
