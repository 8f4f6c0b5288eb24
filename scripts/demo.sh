#!/usr/bin/env bash
# Builds, creates the demo in ./demo-data and serves it. Arguments go to `epoch demo`.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
scripts/build.sh
have psql || packages postgresql-client-15
exec "$(target_dir)/debug/epoch" demo "$@"
