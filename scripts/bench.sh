#!/usr/bin/env bash
# Figures of this machine, as ratios in one run. Arguments go to the benchmark (--quick, a section).
set -euo pipefail
. "$(dirname "$0")/lib.sh"
rust
build_packages
test_packages
packages pgbouncer
step "building"
cargo bench --locked --no-run
step "measuring"
exec cargo bench --locked --bench epoch -- "$@"
