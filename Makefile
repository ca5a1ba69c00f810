# Thin: every target calls the `tutorial` command or a tool of the environment.

# `make LANE=next test` and the like work in .next, a copy of the course for the newer versions.
LANE ?= default
ifneq ($(filter-out default next,$(LANE)),)
$(error LANE is default or next, and not "$(LANE)")
endif
# The first Python that is new enough, on the PATH or of pyenv; `make PYTHON=...` chooses another.
OLDEST := $(if $(filter next,$(LANE)),12,11)
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 ~/.pyenv/versions/3.*/bin/python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, $(OLDEST)))' 2>/dev/null && echo $$p && break; done)

ifeq ($(LANE),next)
.PHONY: next $(MAKECMDGOALS)
$(or $(filter-out python,$(MAKECMDGOALS)),help): next
	@$(MAKE) --no-print-directory -C .next LANE=default PYTHON="$(PYTHON)" $@

# What you wrote there, and its environment, stay.
next:
	@git init -q .next
	@find .next -mindepth 1 -maxdepth 1 ! -name .git ! -name .venv ! -name 'playground*' ! -name .broker -exec rm -rf {} +
	@git ls-files -coz --exclude-standard | tar --null -T - -c | tar -x -C .next
	@cd .next && git apply docs/newer-versions.diff && git add -A
	@cd .next && cp -p requirements-next.txt requirements.txt && cp -p requirements-next-dev.txt requirements-dev.txt
	@$(MAKE) --no-print-directory -C .next LANE=default PYTHON="$(PYTHON)" diffs >/dev/null
else

PORT ?= 8000
HOST ?= 127.0.0.1
STEP ?= 5
UV := uv==0.13.8
BIN := .venv/bin
# Into .venv, even if another environment is activated.
INSTALL := $(BIN)/uv pip install -q --python $(BIN)/python
RESOLVE = $(BIN)/uv pip compile -q --universal --generate-hashes --upgrade --custom-compile-command "make lock" pyproject.toml

.PHONY: help setup run broker test test-all lint format diffs faults bench bench-quick bench-outside notebooks notebooks-run docs slides compose-down lock clean

help: ## Show what can be made
	@sed -En 's/^([a-z-]+):.*## (.*)/  make \1@\2/p' Makefile | while IFS=@ read -r name text; do printf '%-22s %s\n' "$$name" "$$text"; done

setup: .venv/ready-dev ## Prepare the environment, for running and for testing

run: .venv/ready ## Run the finished app (STEP=3 for another step, PORT=8080 for another port)
	@$(BIN)/tutorial run $(STEP) --host $(HOST) --port $(PORT)

broker: .venv/ready ## Run only the embedded broker
	@$(BIN)/tutorial broker

test: .venv/ready-dev ## Test the steps, the lessons and the learner's commands
	@$(BIN)/tutorial test

test-all: .venv/ready-dev ## Test everything: also faults, mistakes, exercises, notebooks, site
	@$(BIN)/tutorial test --all

lint: .venv/ready-dev ## Check format, style, types, spelling and imports
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/typos --format brief
	@$(BIN)/lint-imports --no-logo --no-cache

format: .venv/ready-dev ## Format and mend style
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

diffs: .venv/ready ## Write docs/diffs again
	@$(BIN)/tutorial dev diff --write

faults: .venv/ready-dev ## Provoke every fault at full length and print what was lost
	@$(BIN)/python -m tests.promises.faults

bench: .venv/ready-dev ## Measure servers, layers and consumers side by side
	@$(BIN)/python -m benchmarks

bench-quick: .venv/ready-dev ## Try the load lab in under a minute; its figures mean little
	@$(BIN)/python -m benchmarks --quick

bench-outside: .venv/ready-dev ## Get what only the load lab uses: Node's packages and uvloop
	@$(BIN)/python -m pip install --quiet --upgrade --target .uvloop uvloop==0.23.0
	@command -v npm >/dev/null || { echo "Node is not installed, so the lab leaves its servers out."; exit 1; }
	@npm ci --no-audit --no-fund --prefix benchmarks/outside

notebooks: .venv/ready-dev ## Open the notebooks in JupyterLab
	@$(BIN)/jupyter lab notebooks

notebooks-run: .venv/ready-dev ## Run all notebooks again and keep their outputs
	@$(BIN)/python -m tests.site.notebooks

docs: .venv/ready-dev ## Build the site into docs/_build/html
	@$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html
	@echo "The site is docs/_build/html/index.html"

slides: .venv/ready-dev ## Make slides for each step from its lesson
	@$(BIN)/python docs/_ext/slides.py

compose-down: ## End the containers of all profiles of docker-compose.yml; volumes stay
	@docker compose --profile '*' down

lock: .venv/ready ## Resolve the dependencies again, for both lanes
	@$(RESOLVE) --python-version 3.11 --group default -o requirements.txt
	@$(RESOLVE) --python-version 3.11 --group default --extra dev -c requirements.txt -o requirements-dev.txt
	@$(RESOLVE) --python-version 3.12 --group next -o requirements-next.txt
	@$(RESOLVE) --python-version 3.12 --group next --extra dev -c requirements-next.txt -o requirements-next-dev.txt

clean: ## Remove the environment, databases and the broker's data
	@rm -rf .venv .next/.venv .broker step0*/db.sqlite3

.venv/ready: requirements.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.$(OLDEST) or newer was found. Install one, or name it: make run PYTHON=/path/to/python3"; exit 1; }
	@echo "Making the environment in .venv ..."
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install -q --disable-pip-version-check $(UV)
	@$(INSTALL) --compile-bytecode --require-hashes -r requirements.txt
	@$(INSTALL) --no-deps -e .
	@touch $@

.venv/ready-dev: .venv/ready requirements-dev.txt
	@echo "Adding what the tests need ..."
	@$(INSTALL) --compile-bytecode --require-hashes -r requirements-dev.txt
	@touch $@
endif

.PHONY: python
# Which Python would be taken; fails without one.
python:
	@test -n "$(PYTHON)" && echo "$(PYTHON)"
