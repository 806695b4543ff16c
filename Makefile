# Everything starts from a bare machine with Python >= 3.11: each target makes its own environment.
PYTHON ?= python3
VENV := .venv
# One more than the 2 cores of the smallest machine that the tests are made for: many tests wait.
WORKERS ?= 3
BIN := $(VENV)/bin

SECONDS ?= 600
KILLS ?= $(shell expr $(SECONDS) / 9)
SEED ?= 1

.PHONY: help demo test quick run format gates docs chaos clean

help:
	@echo "make demo    both sandbox regions, the gateway, one photograph edited as two tenants"
	@echo "make test    every gate and every test"
	@echo "make quick   the gates, and the tests that take no seconds"
	@echo "make run     serve for real; needs DASHSCOPE_API_KEY"
	@echo "make format  fix what ruff can"
	@echo "make docs    build the documentation into build/site; fails on a broken link"
	@echo "make chaos   ten minutes of kills and faults; SECONDS, KILLS and SEED change it"

# What the demo and `make run` need: the package, and the SDK that the demo calls it with.
$(VENV)/.demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@echo "Installing wan-gateway and the openai package into $(VENV):"
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[demo]'
	@touch $@

# The same and the tools of the tests.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo,dev]'
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo
	$(BIN)/wan-gateway demo

run: $(VENV)/.demo
	$(BIN)/wan-gateway serve

format: $(VENV)/.ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

gates: $(VENV)/.ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

quick: gates
	$(BIN)/python -m pytest -q -m 'not slow'

docs: $(VENV)/.ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

test: gates docs
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=100

chaos: $(VENV)/.ready
	$(BIN)/python -m tests.chaos.run --seconds $(SECONDS) --kills $(KILLS) --seed $(SEED)

clean:
	rm -rf $(VENV) .coverage* .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist
