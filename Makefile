# What a developer and CI run. The tools come from .ci/tools, which installs what is
# missing; everything it makes is under target/tools.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

export PODGATE_TOOLS ?= $(CURDIR)/target/tools
export PATH := $(PODGATE_TOOLS)/bin:$(PATH):/usr/sbin:/sbin$(patsubst %,:%,$(lastword $(sort $(wildcard /usr/lib/postgresql/*/bin))))

# CI's profile of nextest tells more of a failure.
NEXTEST_PROFILE ?= $(if $(CI),ci,default)
TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
# The second build of `make test` reuses the first only when both ask for the same targets.
BUILT := --workspace --bins --tests --locked

# Bold where a person reads along.
step = @printf '\n$(if $(MAKE_TERMOUT),\033[1m%s\033[0m,%s)\n' '$(1)'

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## Run podgate with pods, users and certificates of its own, and print where to look
	cargo run --release --locked -- demo

.PHONY: test
test: ## Install what the tests need (Debian, PyPI, npm), then run them all
	@.ci/tools test
	$(call step,build)
	cargo build $(BUILT)
	$(call step,examples in the documentation)
	cargo test --workspace --doc --locked --quiet
	$(call step,tests)
	PODGATE_BIN="$(TARGET_DIR)/debug/podgate" cargo nextest run --workspace --locked --profile $(NEXTEST_PROFILE)

.PHONY: check
check: ## Check form: fmt, clippy, docs, unused and unwelcome dependencies, conf
	@.ci/tools check
	$(call step,fmt)
	cargo fmt --all --check
	$(call step,machete: dependencies that nothing uses)
	cargo machete
	$(call step,deny: licenses bans sources)
	cargo deny --locked --log-level error check --hide-inclusion-graph bans licenses sources
	$(call step,conf: Prometheus rules and dashboard)
	.ci/conf
	$(call step,clippy)
	cargo clippy --workspace --all-targets --locked -- -D warnings
	$(call step,docs)
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --document-private-items --locked

.PHONY: bench
bench: ## Compare with nginx, haproxy, Envoy and Caddy; time admissions, limits, changes, starts (40 minutes)
	@.ci/tools test bench
	cargo build --profile dist --locked -p podgate
	cargo run --release --locked -p perf --bin compare
	cargo bench --profile dist --locked -p perf
	cargo run --release --locked -p perf --bin table-size
	cargo run --release --locked -p perf --bin token-cache
	cargo run --release --locked -p perf --bin limit-size
	cargo run --release --locked -p perf --bin speed
	cargo run --release --locked -p perf --bin forwards
	PODGATE_BIN="$(TARGET_DIR)/dist/podgate" cargo run --release --locked -p perf --bin change-latency
	PODGATE_BIN="$(TARGET_DIR)/dist/podgate" cargo run --release --locked -p perf --bin cold-start
	PODGATE_BIN="$(TARGET_DIR)/dist/podgate" cargo run --release --locked -p perf --bin certificates
	PODGATE_BIN="$(TARGET_DIR)/dist/podgate" cargo run --release --locked -p perf --bin limit-cost
	PODGATE_BIN="$(TARGET_DIR)/dist/podgate" cargo run --release --locked -p perf --bin limit-fleet

.PHONY: bench-pods
bench-pods: ## Compare ways to give pods their networks, with a thousand pods, as root (5 minutes)
	@.ci/tools bench
	cargo build --profile dist --locked -p podgate -p perf --bin podgate --bin pods
	PODGATE_BIN="$(TARGET_DIR)/dist/podgate" "$(TARGET_DIR)/dist/pods"

.PHONY: tools
tools: ## Install all that check, test and bench need, and nothing else
	@.ci/tools check test bench
