# The daily targets of ocn_fast. `make help` lists them.
# Needs Python >= 3.11, Rust with a C compiler, and make; everything else comes from the package registries into
# .venv and target. Stamp files make a target quick when nothing has changed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUST_SOURCES := $(shell find rust -name '*.rs' -o -name Cargo.toml) Cargo.toml Cargo.lock
MATURIN := VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/maturin
KEEP ?=
QUICK ?=
PROFILE ?= steady
MINUTES ?= 30
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup build demo test test-rust test-python check format interop bench curves flame load soak guard guard-update wheel wheel-demo docs clean

help:  ## Lists the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# A change of the dependencies installs again; a change of Rust code only rebuilds the extension in place.
$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed, not %d.%d" % sys.version_info[:2])'
	@command -v cargo >/dev/null || { echo 'cargo is not on the path: install Rust' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'maturin>=1.9,<2'
	@touch $@

$(VENV)/.installed: pyproject.toml | $(VENV)/.python
	$(MATURIN) develop --release --locked --extras chain,test,check
	@touch $@ $(VENV)/.built

$(VENV)/.built: $(RUST_SOURCES) | $(VENV)/.installed
	$(MATURIN) develop --release --locked --skip-install
	@touch $@

$(VENV)/.bench: pyproject.toml | $(VENV)/.installed
	$(MATURIN) develop --release --locked --extras chain,test,check,bench
	@touch $@

setup: $(VENV)/.installed  ## Makes .venv with all tools in it.

build: $(VENV)/.installed $(VENV)/.built  ## Builds the native extension, optimised, into the package.

demo: build  ## Parties roam over two nodes and a chain, told as a live table (KEEP=1 leaves them running).
	$(BIN)/ocn-fast demo $(if $(KEEP),--keep) $(ARGS)

test: test-rust test-python  ## All tests; what was skipped for want of a tool is listed at the end.

test-rust:  ## The Rust tests.
	cargo test --workspace --locked --quiet

# Two files at a time: most tests wait for processes that start.
test-python: build  ## The Python tests (ARGS='-k name' picks some).
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

check: build  ## Formats, lints, types, import rules, generated documents, rows of the safety list.
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tests/tools/settings_docs.py --check
	$(BIN)/python -m bench.document --check
	$(BIN)/python tests/tools/safety_rows.py

format: build  ## Formats Rust and Python in place.
	cargo fmt --all
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: build  ## Writes the generated documents again.
	$(BIN)/python tests/tools/settings_docs.py
	$(BIN)/python -m bench.document

interop: build  ## Tests with programs of others: JavaScript packages, solc, Anvil (needs node and npm).
	npm --prefix tests/interop ci --no-audit --no-fund
	npm --prefix deploy/contracts ci --no-audit --no-fund
	$(BIN)/python -m pytest tests/interop $(ARGS)

bench: build $(VENV)/.bench  ## Rate, latency and CPU per message beside floor and goals (QUICK=1: under three minutes).
	$(BIN)/python -m bench $(if $(QUICK),--quick) $(ARGS)

curves: build $(VENV)/.bench  ## Rate and CPU per signed message over workers, parties, connections and sizes.
	$(BIN)/python -m bench.curves $(ARGS)

# What is shipped has no symbols: the same crate is linked once more, with them.
flame: build $(VENV)/.bench  ## A flame graph of a worker under signed load (needs perf).
	cargo build --release --locked --quiet -p ocn-python
	$(BIN)/python -m bench.flame $(ARGS)

load: build $(VENV)/.bench  ## One profile of load (PROFILE=steady) on a demo that was left running.
	$(BIN)/python -m bench.profiles $(PROFILE) $(ARGS)

soak: build $(VENV)/.bench  ## A day of all kinds of messages in half an hour (MINUTES=30): is memory flat?
	$(BIN)/python -m bench.soak --minutes $(MINUTES) $(ARGS)

guard: build  ## Counts instructions, system calls and Python calls of a message, and compares (needs valgrind, strace).
	$(BIN)/python -m bench.guard $(ARGS)
	$(BIN)/python -m pytest -m guard

guard-update: build  ## Counts the instructions again and writes them down, for a commit of its own.
	$(BIN)/python -m bench.guard --update

wheel: $(VENV)/.python  ## Builds the wheel into dist/.
	$(BIN)/maturin build --release --locked --out dist

# A path with nothing but the new environment on it: no compiler can help.
wheel-demo: wheel  ## Runs the demo from the wheel, in a new environment without Rust on the path.
	rm -rf target/wheel-demo
	$(PYTHON) -m venv target/wheel-demo
	target/wheel-demo/bin/python -m pip install --quiet --disable-pip-version-check "$$(ls -t dist/*.whl | head -1)[chain]"
	PATH=$(CURDIR)/target/wheel-demo/bin target/wheel-demo/bin/ocn-fast demo --two-nodes

clean:  ## Removes everything that was built or installed here.
	rm -rf $(VENV) target dist tests/interop/node_modules deploy/contracts/node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find python -name '*.so' -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
