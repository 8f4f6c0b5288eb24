#!/usr/bin/env bash
# Formatting, clippy, licences and advisories.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
skips=${EPOCH_SKIPS:-/dev/null}
rust
build_packages

step "formatting"
cargo fmt --all --check

step "clippy"
cargo clippy --locked --workspace --all-targets -- -D warnings

step "licences, sources and advisories"
if ! have cargo-deny && [ -n "${CI:-}" ]; then
    cargo install --quiet --locked cargo-deny || true
fi
if ! have cargo-deny; then
    skipped "cargo deny: install it with \`cargo install --locked cargo-deny\`"
    exit 0
fi
cargo deny --locked --workspace check --hide-inclusion-graph bans licenses sources
if cargo deny --locked fetch db >/dev/null 2>&1; then
    cargo deny --locked --workspace check advisories
else
    skipped "advisories: their database can't be fetched"
fi
