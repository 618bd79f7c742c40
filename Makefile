# One command per job; continuous integration calls the same ones.
#   make run    serve Stretto on http://127.0.0.1:8080 with its web page
#   make run-cluster     Redis, two nodes and nginx, to try many nodes out
#   make test   every check and every test         make check  lint, types, architecture
#   make bench  benchmarks                         make soak   the long runs
#   make bench-engine    the engine against servers for Node
#   make bench-cluster   several nodes on one Redis
#   make bench-browser   how long a typed character takes to the other tab
#   make fmt    format the code                    make clean  forget what was built
#   make protocol   write the TypeScript types, JSON Schema and AsyncAPI of the protocol

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
WEB := web_client
PEERS := bench/peers
PAGE := server/stretto_server/page/index.html
WEB_SOURCES := $(shell find $(WEB)/sdk $(WEB)/app -type f \
    -not -path '*/node_modules/*' -not -path '*/dist/*' -not -path '*/test/*' 2>/dev/null)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONWARNINGS ?=

.PHONY: help run run-cluster page-if-possible serve test check lint types python-tests web-tests bench bench-engine bench-cluster bench-browser soak protocol fmt clean services

help:
	@sed -n 's/^#   //p' Makefile

# What is installed is remembered in stamps, so a second run needs no network.

$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Stretto needs Python 3.11 or newer; $(PYTHON) is older"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	    { echo "Python has no venv module here; on Debian: apt-get install -y python3-venv"; exit 1; }
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/server: $(STAMPS)/venv setup.cfg pyproject.toml
	@echo "installing the server (once)" && $(BIN)/pip install --quiet --editable '.[server]' && touch $@

$(STAMPS)/dev: $(STAMPS)/server
	@echo "installing what tests need (once)" && $(BIN)/pip install --quiet --editable '.[server,dev]' && touch $@

$(WEB)/node_modules/.package-lock.json: $(WEB)/package.json $(WEB)/package-lock.json
	@echo "installing the web client's packages (once)" && cd $(WEB) && npm ci --no-audit --no-fund --silent
	@touch $@

$(PAGE): $(WEB)/node_modules/.package-lock.json $(WEB_SOURCES)
	@echo "building the web page" && cd $(WEB) && npm run --silent build
	@touch $@

# Installs the Debian packages in $$missing, or says how.
define install_missing
	if [ -n "$$missing" ]; then \
	    command="apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq$$missing"; \
	    echo "installing $(1):$$missing"; \
	    if [ "$$(id -u)" = 0 ]; then bash -c "$$command" >/dev/null; \
	    elif sudo -n true 2>/dev/null; then sudo bash -c "$$command" >/dev/null; \
	    else echo "install with: sudo sh -c '$$command'"; exit 1; fi; \
	fi
endef
HAS_NGINX := command -v nginx >/dev/null || [ -x /usr/sbin/nginx ]

page-if-possible:
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory $(PAGE); \
	    else echo "no npm here: serving without the web page"; fi

run: $(STAMPS)/server page-if-possible
	@exec $(BIN)/stretto serve --dev

run-cluster: $(STAMPS)/server page-if-possible
	@missing=""; \
	command -v redis-server >/dev/null || missing="$$missing redis-server"; \
	$(HAS_NGINX) || missing="$$missing nginx"; \
	$(call install_missing,for the cluster)
	@exec $(BIN)/python -m tools.run_cluster

services:
	@missing=""; \
	command -v chromium >/dev/null || missing="$$missing chromium"; \
	command -v make >/dev/null || missing="$$missing make"; \
	command -v cc >/dev/null || missing="$$missing gcc libc6-dev"; \
	command -v redis-server >/dev/null || missing="$$missing redis-server"; \
	$(HAS_NGINX) || missing="$$missing nginx"; \
	ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || command -v postgres >/dev/null || missing="$$missing postgresql"; \
	$(call install_missing,for the tests)
	@command -v npm >/dev/null || { echo "the tests need Node.js 20 or newer with npm"; exit 1; }

test: services check python-tests web-tests

check: $(STAMPS)/dev $(WEB)/node_modules/.package-lock.json
	@$(BIN)/ruff format --check --quiet . && $(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/python -m tools.generate_protocol --check
	@$(BIN)/python -m tools.export_replica_scripts --check
	@$(BIN)/pytest tests/architecture
	@cd $(WEB) && npm run --silent check

python-tests: $(STAMPS)/dev $(PAGE)
	@$(BIN)/pytest

web-tests: $(WEB)/node_modules/.package-lock.json
	@cd $(WEB) && npm test --silent

bench: $(STAMPS)/dev
	@$(BIN)/python -m bench

$(PEERS)/node_modules/.package-lock.json: $(PEERS)/package.json $(PEERS)/package-lock.json
	@echo "installing the benchmarks' peers (once)" && cd $(PEERS) && npm ci --no-audit --no-fund --silent
	@touch $@

bench-engine: services $(STAMPS)/dev $(PEERS)/node_modules/.package-lock.json
	@$(BIN)/python -m bench.engine
	@$(BIN)/python -m bench.engine.documents

bench-cluster: services $(STAMPS)/dev
	@$(BIN)/python -m bench.cluster

bench-browser: services $(STAMPS)/dev $(PAGE)
	@$(BIN)/python -m tests.browser.bench_typing

$(STAMPS)/fuzz: $(STAMPS)/dev
	@$(BIN)/pip install --quiet 'atheris>=3' 2>/dev/null || \
	    echo "atheris cannot be installed here: fuzzing goes on without coverage"
	@touch $@

soak: services $(STAMPS)/dev $(STAMPS)/fuzz $(PAGE)
	@$(BIN)/python -m tests.core.simulation --minutes 30
	@$(BIN)/pytest tests/faults -m soak
	@$(BIN)/python -m tests.faults --points 20 --minutes 20
	@$(BIN)/python -m tests.faults --journal postgres --minutes 8
	@$(BIN)/python -m tests.faults --journal sqlite --minutes 2
	@$(BIN)/python -m tests.core.eio.fuzz --minutes 10
	@$(BIN)/python -m tests.server.engine.hostile
	@for trace in bench/traces/sveltecomponent.json.gz bench/traces/friendsforever.schedule.jsonl.gz; do \
	    $(BIN)/stretto replay $$trace --kill 3 --seed $$RANDOM; done

protocol: $(STAMPS)/dev
	@$(BIN)/python -m tools.generate_protocol
	@$(BIN)/python -m tools.export_replica_scripts

fmt: $(STAMPS)/dev
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) $(WEB)/node_modules $(PEERS)/node_modules server/stretto_server/page build *.egg-info
