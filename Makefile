# The one door: every task that a user, a developer or a CI server does is a target here.
#
#   make && sudo make install     build a release, install it into the PostgreSQL of PG_CONFIG
#   make demo, make demo-stop     try it: a throw-away server with sample data, a conversation, client configurations
#   make check, make test         what a change must pass; make test PG=18 for another major version of PostgreSQL
#   make bench                    latency and throughput beside pgbench, in one table
#   make setup                    install what this machine lacks (demo, check, test and bench do so themselves)
#   make package                  the installed files as an archive
#
# PG=15..18 chooses the major version of PostgreSQL, PG_CONFIG=/path a particular one.

SHELL := /bin/bash
.SHELLFLAGS := -eu -c
.DEFAULT_GOAL := build

# A given PG_CONFIG tells its own version. Otherwise the version finds a pg_config, late, for setup may be what brings it.
ifdef PG_CONFIG
GIVEN := $(PG_CONFIG)
PG := $(shell $(PG_CONFIG) --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
else
PG ?= 15
PG_CONFIG = $(shell scripts/pg-config $(PG))
endif

# One build folder per major version, for the bindings differ; the default version has the usual one.
BUILD := target$(if $(filter-out 15,$(PG)),/pg$(PG))
FEATURES := $(if $(filter-out 15,$(PG)),--no-default-features --features supabase_mcp/pg$(PG))
# A library with switches that take defences out, for tests alone. Its own folder: the two must never be taken for each other.
WEAKENED := $(BUILD)/weakened
LIBRARY := $(BUILD)/release/libsupabase_mcp.so
# A workspace of its own: see there.
RUST_CLIENT := tests/clients/rust/Cargo.toml

export CARGO_TARGET_DIR := $(CURDIR)/$(BUILD)
export PGRX_HOME := $(CURDIR)/$(BUILD)/pgrx

CARGO_BUILD = cargo build --locked --release --workspace $(FEATURES)

.PHONY: build install setup check test test-unit test-defences test-e2e demo demo-stop bench package clean

build: $(PGRX_HOME)/config.toml
	$(CARGO_BUILD)

# Which pg_config the bindings are made from: what cargo-pgrx would write. Only touched when it changes, for a change means that
# the bindings are made again.
.PHONY: FORCE
$(PGRX_HOME)/config.toml: FORCE
	@mkdir -p $(@D)
	@pg_config='$(PG_CONFIG)'; [ -n "$$pg_config" ] || exit 1; \
	printf '[configs]\npg%s = "%s"\n' '$(PG)' "$$(command -v "$$pg_config")" > $@.new; \
	if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

# Does not build when there is a build: root has no cargo, as a rule.
install: $(if $(wildcard $(LIBRARY)),,build)
	@scripts/install '$(PG_CONFIG)' $(BUILD)/release

setup:
	@scripts/setup test $(PG) $(GIVEN)

check: setup
	$(MAKE) --no-print-directory PG=$(PG) check-ready

.PHONY: check-ready
check-ready: $(PGRX_HOME)/config.toml
	cargo fmt --all --check
	cargo fmt --check --manifest-path $(RUST_CLIENT)
	cargo clippy --locked --quiet --release --workspace --all-targets $(FEATURES) -- -D warnings
	CARGO_TARGET_DIR=$(CURDIR)/target/test/rust cargo clippy --locked --quiet --manifest-path $(RUST_CLIENT) -- -D warnings
	$(CARGO_BUILD) --quiet
	python3 tests/check/repository.py $(LIBRARY)

# As root the rest may be done at once; anybody else is asked for the password when files go into the system's folders.
.PHONY: installed
installed:
	@scripts/setup run $(PG) $(GIVEN)
	@$(MAKE) --no-print-directory PG=$(PG) build
	@SUDO=sudo $(MAKE) --no-print-directory PG=$(PG) install

test: setup test-unit test-defences test-e2e

test-unit: $(PGRX_HOME)/config.toml
	cargo test --locked --quiet --release --workspace --exclude supabase_mcp

test-defences: $(PGRX_HOME)/config.toml
	CARGO_TARGET_DIR=$(CURDIR)/$(WEAKENED) $(CARGO_BUILD) --quiet --features supabase_mcp/weaken
	scripts/test-weakened '$(PG_CONFIG)' $(WEAKENED)/release

test-e2e: installed
	PG_CONFIG='$(PG_CONFIG)' tests/run

demo: installed
	@scripts/venv demo/requirements.txt
	@PG_CONFIG='$(PG_CONFIG)' target/venv/bin/python demo/demo.py

demo-stop:
	@python3 demo/stop.py

bench: installed
	@PG_CONFIG='$(PG_CONFIG)' LOAD=$(BUILD)/release/load python3 tests/bench/bench.py

package: build
	@rm -rf $(BUILD)/package
	@DESTDIR=$(CURDIR)/$(BUILD)/package scripts/install '$(PG_CONFIG)' $(BUILD)/release
	@tar -C $(BUILD)/package -czf $(BUILD)/supabase_mcp-pg$(PG)-$$(uname -m).tar.gz .
	@echo $(BUILD)/supabase_mcp-pg$(PG)-$$(uname -m).tar.gz

clean:
	rm -rf target
