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

# The clients are the same until these files change.
node_modules="pg@8 pg-query-stream@4 knex@3 prisma@7 @prisma/client@7 @prisma/adapter-pg@7"
stamp="$home/stamp-$(cat "$here/requirements.txt" "$here/run.sh" "$here/prisma/schema.prisma" | cksum | cut -d' ' -f1)"
export EPOCH_PRISMA_CLIENT="$home/prisma-client"
export EPOCH_JAVA_CLASSES="$home/java"
export EPOCH_JDBC=/usr/share/java/postgresql.jar
if [ ! -f "$stamp" ]; then
    python3 -m venv "$home/venv"
    "$home/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    if command -v npm >/dev/null 2>&1; then
        # Scripts would fetch Prisma's engines: the client that is generated here needs none of them.
        # shellcheck disable=SC2086
        npm install --silent --no-fund --no-audit --ignore-scripts --prefix "$home" $node_modules >/dev/null \
            || echo "npm can't install $node_modules"
        rm -rf "$EPOCH_PRISMA_CLIENT"
        cp "$here/prisma/schema.prisma" "$home/schema.prisma"
        (cd "$home" && CHECKPOINT_DISABLE=1 PRISMA_HIDE_UPDATE_MESSAGE=1 PRISMA_SCHEMA_ENGINE_BINARY=/bin/true \
            node node_modules/prisma/build/index.js generate --schema schema.prisma >"$home/prisma.log" 2>&1) \
            || cat "$home/prisma.log"
    fi
    touch "$stamp"
fi
if command -v javac >/dev/null 2>&1 && [ -f "$EPOCH_JDBC" ]; then
    rm -rf "$EPOCH_JAVA_CLASSES"
    javac -d "$EPOCH_JAVA_CLASSES" -cp "$EPOCH_JDBC" "$here/Jdbc.java"
fi
NODE_PATH="$home/node_modules" exec "$home/venv/bin/python" "$here/run.py" "$@"
