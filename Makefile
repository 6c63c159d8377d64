# What people type. Everything else is cargo's, or `cargo xtask`'s.

# Puts a new enough Rust in front of PATH; on a bare machine installs one first.
RUST = rust=$$(sh xtask/bootstrap.sh) && export PATH="$$rust:$$PATH"

# Tests that make namespaces or load XDP programs need root and are ignored without it. Not root: each test program runs through
# sudo. Measurements are for people to look at.
RUNNER = $$([ "$$(id -u)" = 0 ] || ! command -v sudo >/dev/null || \
	printf %s "--config target.'cfg(unix)'.runner=['sudo','-E']")
WHICH = $$([ "$$(id -u)" != 0 ] && ! command -v sudo >/dev/null || printf %s "-- --include-ignored --skip measure_ --skip takes_minutes_")

# Where `make install` puts things; DESTDIR comes before each, for packages.
PREFIX = /usr/local
SYSCONFDIR = /etc
UNITDIR = $(PREFIX)/lib/systemd/system
ZSHDIR = $(PREFIX)/share/zsh/site-functions
PROGRAM = target/release/echolot
SHARE = $(DESTDIR)$(PREFIX)/share

.PHONY: help demo build install package test test-long test-vm lint clean-lab
.DEFAULT_GOAL := help

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 20

demo: build ## Set up, build, and watch echolot monitor 10,000 addresses in a lab for 20 seconds
	@$(RUST) && cargo xtask demo

build: ## Set up, and build target/release/echolot
	@echo "== Set-up: what building needs is installed, where it is missing"
	@$(RUST) && cargo xtask setup
	@echo "== Build: target/release/echolot (the first time takes some minutes)"
	@$(RUST) && cargo build --release --locked

# A configuration that is there stays as it is.
install: ## Install what `make build` built, with man pages, completions, unit, rules and docs (PREFIX=/usr/local, DESTDIR=)
	@[ -x "$(PROGRAM)" ] || { echo "$(PROGRAM) is not there: make build" >&2; exit 1; }
	install -D -m 755 "$(PROGRAM)" "$(DESTDIR)$(PREFIX)/bin/echolot"
	@set -e; made=$$(mktemp -d); trap 'rm -rf "$$made"' EXIT; set -x; \
	"$(PROGRAM)" generate "$$made"; \
	install -D -m 644 -t "$(SHARE)/man/man1" "$$made"/man/*.1; \
	install -D -m 644 "$$made/completions/bash" "$(SHARE)/bash-completion/completions/echolot"; \
	install -D -m 644 "$$made/completions/zsh" "$(DESTDIR)$(ZSHDIR)/_echolot"; \
	install -D -m 644 "$$made/completions/fish" "$(SHARE)/fish/vendor_completions.d/echolot.fish"; \
	sed 's,/usr/local/bin/,$(PREFIX)/bin/,' docs/examples/echolot.service >"$$made/echolot.service"; \
	install -D -m 644 "$$made/echolot.service" "$(DESTDIR)$(UNITDIR)/echolot.service"
	install -D -m 644 -t "$(SHARE)/echolot" docs/examples/dashboard.json docs/examples/alerts.yml docs/examples/vantages.yml
	install -D -m 644 -t "$(SHARE)/doc/echolot" README.md
	install -D -m 644 -t "$(SHARE)/doc/echolot/docs" docs/*.md
	install -D -m 644 -t "$(SHARE)/doc/echolot/docs/examples" docs/examples/echolot.yml
	install -d -m 755 "$(DESTDIR)$(SYSCONFDIR)/echolot/targets"
	[ -e "$(DESTDIR)$(SYSCONFDIR)/echolot/echolot.yml" ] || \
		install -m 644 xtask/package/echolot.yml "$(DESTDIR)$(SYSCONFDIR)/echolot/echolot.yml"

package: build ## Build a Debian package, in target/package
	@$(RUST) && cargo xtask package

lint: ## Formatting and clippy, warnings being errors
	@echo "== Lint"
	@$(RUST) && set -x && cargo fmt --check && cargo clippy --workspace --all-targets --locked -- -D warnings

test: ## Set up for tests, then lint and every test, those that need root included
	@echo "== Set-up: what building and testing need is installed, where it is missing"
	@$(RUST) && cargo xtask setup --test
	@$(MAKE) --no-print-directory lint
	@echo "== Tests (the first time takes some minutes)"
	@$(RUST) && set -x && cargo test --workspace --locked --no-fail-fast $(RUNNER) $(WHICH)
	@echo "== All is well"

test-long: ## The tests that take minutes: the Debian package on a fresh system, two Alertmanagers, a page that waits for an alert
	@$(RUST) && cargo xtask setup --test
	@$(RUST) && set -x && cargo test --workspace --locked --no-fail-fast $(RUNNER) -- --include-ignored takes_minutes_

test-vm: build ## On real drivers (emulated cards, three kernels), and the package under systemd, in virtual machines (downloads 400 MB; takes long)
	@$(RUST) && cargo xtask vm test && cargo xtask vm package

clean-lab: ## Take down the lab of `cargo xtask lab up`, whatever is left of it
	@$(RUST) && cargo xtask lab down
