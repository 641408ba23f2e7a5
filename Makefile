# One door for everything: `make` or `make help` lists the targets.
# Each target sets up what it needs by itself; on a bare Debian 12 or 13 `make demo` and `make test` are enough.

BIN := .venv/bin
# More words for pytest, mutmut or the demo: make test ARGS='-k gate'
ARGS ?=
# A set of real pictures for bench-scenes and bench-episodes: make bench-scenes SCENES=DIR
SCENES ?= ../shared/scenes/dev
# How much torture (short takes minutes, long five times that), and the seed of it: make torture FORM=long SEED=2
FORM ?= short
SEED ?= 1
# The card image's Debian: make image SUITE=trixie
SUITE ?= bookworm

.DEFAULT_GOAL := help
.PHONY: help setup demo test check quick cover bench bench-scenes bench-episodes torture cut-privacy chaos fuzz-orders contract asyncapi fix mutants card constraints-check image image-boot image-test install uninstall install-test clean

help: ## this list
	@sed -n 's/^\([a-z%-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

setup: ## all that development needs: Debian packages, .venv, tools
	@.ci/setup test

demo: ## a simulated RT on this machine, playing both incidents
	@.ci/setup demo
	@$(BIN)/edge-agent demo $(ARGS)

test: setup ## every test, linters included; what CI runs
	@$(BIN)/pytest $(ARGS)

check: test ## the same as test

quick: setup ## the pure core's tests only: seconds
	@$(BIN)/pytest tests/core $(ARGS)

cover: setup ## every test with coverage, lines and branches
	@$(BIN)/pytest --cov --cov-report=term-missing:skip-covered $(ARGS)

bench: setup ## every benchmark; bench-NAME runs one, tests/bench/NAME.py
	@for each in $(filter-out __init__ foreign_bank image_boot $(if $(wildcard $(SCENES)),,scenes attacks),$(notdir $(basename $(wildcard tests/bench/*.py)))); do \
	  echo "== $$each" && $(BIN)/python -m tests.bench.$$each || exit 1; done

bench-scenes: setup ## the view check on a set of real pictures (SCENES=DIR), peers beside it
	@$(BIN)/python -m tests.bench.scenes $(SCENES) $(ARGS)

bench-episodes: setup ## a thousand cameras taken home, played on SCENES=DIR, or else on the repo's own pictures
	@$(BIN)/python -m tests.bench.episodes $(wildcard $(SCENES)) $(ARGS)

cut-privacy: setup ## cut the power N times around a press of the switch (as root; N=100 takes some minutes)
	@PRIVACY_CUTS=$(or $(N),100) $(BIN)/pytest tests/test_presscut.py -rP $(ARGS)

fuzz-orders: setup ## N bad commands and policies against the signature check and the agent (N=100000: some minutes)
	@$(BIN)/python -m tests.support.orderfuzz --count $(or $(N),100000) $(ARGS)

chaos: setup ## N seeded faults on the line between box and hub (N=1000: some minutes); 1 if one did harm
	@$(BIN)/python -m tests.chaos --faults $(or $(N),1000) $(ARGS)

contract: setup ## write docs/asyncapi.yaml, docs/schemas and docs/examples from core/wire.py
	@$(BIN)/python -m tests.support.contract

asyncapi: setup ## validate docs/asyncapi.yaml with @asyncapi/cli (needs npm; fetched into .venv once; no metrics sent)
	@test -x .venv/asyncapi/node_modules/.bin/asyncapi || npm install --silent --no-audit --no-fund --prefix .venv/asyncapi @asyncapi/cli@6.2.0
	@CI=true HOME=$(CURDIR)/.venv/asyncapi .venv/asyncapi/node_modules/.bin/asyncapi validate docs/asyncapi.yaml --fail-severity error --suppressWarnings asyncapi-latest-version

bench-%: setup
	@$(BIN)/python -m tests.bench.$* $(ARGS)

torture: setup ## kill, unplug, damage the journal thousands of times; root for all of it (FORM=long, SEED=2)
	@$(BIN)/python -m tests.torture --form $(FORM) --seed $(SEED) $(ARGS)

fix: setup ## format, and mend what ruff can mend
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

mutants: setup ## plant faults in the core and count those that no test notices (minutes)
	@$(BIN)/mutmut run $(ARGS) && $(BIN)/mutmut results

constraints-check: setup ## the pins resolve for 3.11 and 3.13, x86_64 and aarch64 (asks the package index)
	@.ci/constraints-check

card: ## the secretary's card as PDF, printed from its HTML (Debian's chromium)
	@scripts/card

image: ## the card image, as root: dist/image-SUITE (SUITE=bookworm or trixie; MIRROR=..., REFRESH=1: image-build/README.md)
	@.ci/setup image$(if $(filter trixie,$(SUITE)),-trixie)
	@image-build/build $(SUITE)

image-boot: ## the built card image in a virtual machine, its console here (Ctrl-A X ends it; CARD=DIR, OUT=DIR)
	@image-build/boot $(SUITE) $(ARGS)

image-test: setup ## the boot test in its long form, as root: N=100 cuts of the power, the board of a Pi 3 (SUITE=bookworm or trixie)
	@.ci/setup image$(if $(filter trixie,$(SUITE)),-trixie)
	@IMAGE_LONG=1 IMAGE_SUITE=$(SUITE) IMAGE_CUTS=$(or $(N),100) $(BIN)/pytest tests/image -p no:randomly -rP $(ARGS)

install: ## on a Debian box, as root: program, user, unit; keeps configuration and data
	@scripts/install

uninstall: ## the reverse; configuration and data stay, unless PURGE=1
	@scripts/uninstall

install-test: setup ## as root: install on a Debian made for it, boot, harm, upgrade, remove (SUITE=bookworm or trixie)
	@command -v mmdebstrap >/dev/null || { echo "Needs mmdebstrap: apt-get install mmdebstrap" >&2; exit 69; }
	@INSTALL_SUITE=$(or $(SUITE),bookworm) $(BIN)/pytest tests/test_install.py -rP $(ARGS)

clean: ## remove what `make` made here
	rm -rf .venv .debian dist mutants .coverage* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
