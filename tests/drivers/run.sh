#!/bin/sh
# Drivers that people use, on main and on a branch of a live proxy.
#
#   run.sh URL-OF-MAIN [URL-OF-BRANCH]
#   run.sh            starts a database on EPOCH_TEST_POSTGRES_URL and a proxy (EPOCH_BIN, else target/debug/epoch)
#
# Prints `N passed, N failed`; fails if one failed. The virtual environment and node's modules are
# kept below .test/.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
home=${EPOCH_TEST_HOME:-$root/.test}/drivers
mkdir -p "$home"

# The clients are the same until this file changes.
stamp="$home/stamp-$(cksum < "$here/requirements.txt" | cut -d' ' -f1)"
if [ ! -f "$stamp" ]; then
    python3 -m venv "$home/venv"
    "$home/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    if command -v npm >/dev/null 2>&1; then
        (cd "$home" && npm install --silent --no-fund --no-audit --prefix "$home" pg@8 >/dev/null)
    fi
    touch "$stamp"
fi
NODE_PATH="$home/node_modules" exec "$home/venv/bin/python" "$here/run.py" "$@"
