# Shared by the scripts here; sourced, not run.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || exit 1

step() { printf '\n== %s\n' "$*"; }
skipped() { printf 'skipped: %s\n' "$*" | tee -a "$skips"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
skips=/dev/null

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        die "this needs root: run it as root, or install sudo ($*)"
    fi
}

# Debian packages that are missing. Does nothing (and needs no root) if all are there.
packages() {
    local missing=() name
    for name in "$@"; do
        dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    have apt-get || die "please install: ${missing[*]} (only Debian's packages are installed from here)"
    step "installing ${missing[*]}"
    as_root apt-get -qq update
    # The package would start a server of its own on port 5432; ours have ports of their own.
    local quiet=/etc/postgresql-common/createcluster.d/epoch-no-cluster.conf
    as_root sh -c "mkdir -p ${quiet%/*} && echo 'create_main_cluster = false' > $quiet"
    local failed=0
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" || failed=1
    as_root rm -f "$quiet"
    [ $failed = 0 ] || die "apt-get could not install ${missing[*]}"
}

# Debian starts a server of its own when the package is installed; ours have ports of their own.
mariadb_packages() {
    ! have mariadbd || return 0
    local policy=/usr/sbin/policy-rc.d made=0
    if [ ! -e $policy ]; then
        made=1
        as_root sh -c "printf '#!/bin/sh\\nexit 101\\n' > $policy && chmod 755 $policy"
    fi
    packages mariadb-server
    [ $made = 0 ] || as_root rm -f $policy
}

# What compiling needs: the parser of PostgreSQL is C, and its bindings are made with libclang.
build_packages() { packages build-essential clang libclang-dev; }
test_packages() {
    packages postgresql-15 postgresql-client-15 python3 python3-venv python3-pip
    mariadb_packages
    # A JDK is large: tests/drivers uses the one that is there.
    ! have javac || packages libpostgresql-jdbc-java
}

rust() {
    have cargo || die "there is no Rust toolchain: https://rustup.rs installs one"
    local need=1.95 version
    version=$(rustc --version | cut -d' ' -f2)
    [ "$(printf '%s\n' "$need" "$version" | sort -V | head -n1)" = "$need" ] \
        || die "Rust $need or newer is needed, this is $version: rustup update"
}

target_dir() { echo "${CARGO_TARGET_DIR:-$root/target}"; }

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
