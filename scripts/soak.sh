#!/usr/bin/env bash
# Random sessions against the model (tests/e2e_model.rs) for EPOCH_SOAK_SECONDS (an hour), each round with a new seed;
# then the bank (tests/e2e_bank.rs), whose proxy and servers are killed, for as long.
# A failure prints its seed; `EPOCH_TEST_SEED=… EPOCH_SOAK_SECONDS=0 make soak` repeats that round.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$root/scripts/servers.sh"
rust
build_packages
test_packages
servers_stop_at_exit

step "building"
cargo test --locked -p epoch --test e2e_model --test e2e_bank --no-run

step "PostgreSQL 15"
bin=$(debian_postgres)
server_start soak "$bin"
seconds=${EPOCH_SOAK_SECONDS:-3600}
step "$seconds seconds of random sessions"
EPOCH_TEST_POSTGRES_URL=$server_url EPOCH_TEST_SOAK_SECONDS=$seconds EPOCH_TEST_STEPS=${EPOCH_TEST_STEPS:-500} \
    cargo test --locked -p epoch --test e2e_model -- --nocapture

step "$seconds seconds of a bank"
EPOCH_TEST_POSTGRES_URL=$server_url EPOCH_TEST_PG_BIN=$bin EPOCH_TEST_SOAK_SECONDS=$seconds \
    cargo test --locked -p epoch --test e2e_bank -- --nocapture
