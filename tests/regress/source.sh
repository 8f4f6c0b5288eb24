#!/bin/sh
# PostgreSQL's own tests, of the server under test: prints the folder that has `regress` and `isolation`.
#
#   source.sh FOLDER-OF-THE-SERVERS-PROGRAMS
#
# They come with Debian's source package of the server that is installed, over apt's own sources and keys, and are
# kept below .test/ (or EPOCH_TEST_HOME). Nothing of them is a part of this repository. Fails with what is missing.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
home=${EPOCH_TEST_HOME:-$here/../../.test}
bin=$1

version=$("$bin/postgres" --version | sed 's/^postgres (PostgreSQL) \([0-9.]*\).*/\1/')
major=${version%%.*}
folder=$home/postgresql-tests-$version
if [ -f "$folder/complete" ]; then
    echo "$folder"
    exit 0
fi
command -v apt-get >/dev/null 2>&1 || { echo "no apt-get" >&2; exit 1; }
packaged=$(dpkg-query -W -f '${source:Version}' "postgresql-$major" 2>/dev/null) \
    || { echo "postgresql-$major isn't installed from Debian" >&2; exit 1; }
case $packaged in
"$version"-*) ;;
*) echo "Debian's postgresql-$major is $packaged, the server $version" >&2; exit 1 ;;
esac

# The machine's own list of sources stays as it is.
rm -rf "$folder"
mkdir -p "$folder/apt/parts" "$folder/apt/lists/partial"
cd "$folder"
for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ ! -f "$list" ] || sed -n 's/^deb /deb-src /p' "$list" >"apt/parts/$(basename "$list")"
done
for list in /etc/apt/sources.list.d/*.sources; do
    [ ! -f "$list" ] || sed 's/^Types:.*/Types: deb-src/' "$list" >"apt/parts/$(basename "$list")"
done
apt() {
    apt-get -qq -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$folder/apt/parts" \
        -o Dir::State::lists="$folder/apt/lists" "$@" >apt/log 2>&1 || { cat apt/log >&2; exit 1; }
}
apt update
apt source --download-only "postgresql-$major=$packaged"
python3 - "postgresql-${major}_$version.orig.tar."* <<'PY'
import sys, tarfile
with tarfile.open(sys.argv[1]) as tar:
    for file in tar:
        path = file.name.split("/")
        if path[1:3] in (["src", "test"],) and path[3:4] in (["regress"], ["isolation"]) and file.isreg():
            file.name = "/".join(path[3:])
            tar.extract(file, ".")
PY
rm -rf apt ./postgresql-*
chmod -R a+rX .
touch complete
echo "$folder"
