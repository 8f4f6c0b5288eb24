#!/bin/sh
# PostgreSQL's own tests against us: see run.py. The source of the server under test is fetched by source.sh; where it can't be had,
# this says so and does nothing.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
EPOCH_TEST_PG_BIN=${EPOCH_TEST_PG_BIN:-/usr/lib/postgresql/15/bin}
if ! EPOCH_REGRESS_SOURCE=$("$here/source.sh" "$EPOCH_TEST_PG_BIN"); then
    message="skipped: PostgreSQL's own tests: their source can't be had"
    echo "$message"
    [ -z "${EPOCH_SKIPS:-}" ] || echo "$message" >>"$EPOCH_SKIPS"
    exit 0
fi
export EPOCH_TEST_PG_BIN EPOCH_REGRESS_SOURCE
export EPOCH_BIN="${EPOCH_BIN:-$here/../../target/debug/epoch}"
exec python3 "$here/run.py" "$@"
