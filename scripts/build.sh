#!/usr/bin/env bash
# Builds target/debug/epoch, installing what that needs.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
rust
build_packages
step "building (about 15 minutes the first time on two cores)"
cargo build --locked --bin epoch
