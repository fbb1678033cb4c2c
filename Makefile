# What a person or a CI types. Everything else is cargo and node, run as below.

.PHONY: help demo test fmt fuzz check rust-test browser-test net-test net-table pictures install-demo install-test
.DEFAULT_GOAL := help
# Two cores are soon full, and browser tests want them to themselves.
.NOTPARALLEL:

# The browser tests start this program; cargo says where it put it.
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
# `~/.local/bin` is where things installed without root are.
export PATH := $(PATH):$(HOME)/.local/bin

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: install-demo ## Try it: three links that work at once (ARGS=--bot: a companion is built in; ARGS=--lan: for phones)
	cargo run --locked --release -- demo $(ARGS)

test: install-test check rust-test browser-test net-test ## Run everything

fmt: ## Format the Rust sources
	cargo fmt --all

check: ## Format, clippy, types of pages and tests; needs `make install-test` once
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	tests/browser/node_modules/.bin/tsc -p signaling
	tests/browser/node_modules/.bin/tsc -p tests/browser

rust-test: ## Rust tests
	@if cargo nextest --version >/dev/null 2>&1; then set -x; cargo nextest run --locked --workspace; \
	else set -x; cargo test --locked --workspace --lib --bins --tests; fi
	cargo test --locked --workspace --doc

browser-test: ## Tests in real browsers, one at a time (T=NAME: only tests/browser/NAME.test.mjs; PAIRS=all: all of them with Firefox on either side and on both)
	cargo build --locked
	cd tests/browser && SERVER_BINARY=$(TARGET)/debug/lull PAIRS=$(PAIRS) \
		node --test --test-reporter=spec --test-concurrency=1 $(if $(T),$(T).test.mjs,$$(echo *.test.mjs) net/verdict.test.mjs)

fuzz: ## Fuzz one parser guided by coverage (T=NAME, N=10000000 executions; without T: lists them); needs cargo-fuzz
	scripts/fuzz.sh $(if $(T),run $(T) $(N),list)

net-test: ## Calls over bad networks, in network namespaces (root, or user namespaces and /dev/net/tun)
	cargo build --locked -p lull -p lull-wire
	cd tests/browser && SERVER_BINARY=$(TARGET)/debug/lull WIRE_BINARY=$(TARGET)/debug/wire \
		net/enter.sh node --test --test-reporter=spec net/networks.test.mjs

net-table: ## Sound, picture and bandwidth on bad networks beside a direct connection, as a table; fails where lull is worse (an hour with REPEAT=3: medians; S="loss-5 nat": only these)
	cargo build --locked --release -p lull -p lull-wire
	cd tests/browser && SERVER_BINARY=$(TARGET)/release/lull WIRE_BINARY=$(TARGET)/release/wire S="$(S)" REPEAT=$(or $(REPEAT),1) \
		net/enter.sh node net/table.mjs

pictures: ## Rewrite the picture of the README from the running pages
	cargo build --locked
	cd tests/browser && SERVER_BINARY=$(TARGET)/debug/lull UPDATE_PICTURE=1 node --test --test-reporter=spec screens.test.mjs

install-demo:
	@scripts/install.sh demo

install-test:
	@scripts/install.sh test
