# Every target makes .venv first when it is missing or older than its lock. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS := .venv-peers
# One more than the processors of a small machine: many tests wait for servers.
WORKERS ?= 3

.DEFAULT_GOAL := help
.PHONY: help demo test faults fuzz bench check format lock clean

help: ## show the targets
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 10

$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "turnsheet needs Python 3.11 or later: run make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "making $(VENV): the first time takes a minute"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $(STAMP)

demo: $(STAMP) ## the whole story on real Kafka and Postgres, ending with a scorecard and an invoice
	@$(BIN)/turnsheet demo

test: $(STAMP) ## all tests, on real servers
	@$(BIN)/pytest -n $(WORKERS) --dist worksteal

faults: $(STAMP) ## schedules of crashes, pauses and cuts by the hundred; long races, replays, overloads; over an hour
	@$(BIN)/python -m tests.faults.schedules --count 300
	@$(BIN)/pytest tests/faults/long_kafka.py tests/races/long_races.py tests/overload/long_overload.py
	@$(BIN)/python -m tests.order.folds --histories 20000
	@$(BIN)/python -m tests.order.long_replay

fuzz: $(STAMP) ## every published call, strings of bytes and forged tokens by the hundred thousand; half an hour
	@$(BIN)/pytest -n $(WORKERS) --dist worksteal tests/fuzz/long_calls.py tests/fuzz/long_bytes.py tests/fuzz/long_tokens.py

bench: $(STAMP) $(PEERS)/.installed ## our speed beside that of the parts and of peers; five minutes
	@$(BIN)/python -m tests.bench

$(PEERS)/.installed: requirements/peers.txt
	@echo "making $(PEERS): what the bench compares us with"
	@$(PYTHON) -m venv --clear $(PEERS)
	@$(PEERS)/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/peers.txt
	@touch $@

check: $(STAMP) ## lint, types, walls and generated files
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m schemas.generate --check

format: $(STAMP) ## put the code in its common form
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .
	@$(BIN)/python -m schemas.generate

lock: $(STAMP) ## resolve the dependencies again and write their hashes
	@uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --output-file requirements/runtime.txt
	@uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --output-file requirements/dev.txt
	@uv pip compile tests/bench/peers/requirements.in --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --output-file requirements/peers.txt

clean: ## remove what was installed and built, but no data
	@rm -rf $(VENV) $(PEERS) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
