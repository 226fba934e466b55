#!/bin/bash
# Data set `postgres`: the files of one stopped cluster, before and after a small delete in every table.
#
# usage: postgres.sh DIR [SCALE=8]      writes DIR/postgres/A and DIR/postgres/B
#
# pgbench fills accounts at SCALE, ten tables copy it; between A and B each copy loses one hundredth of
# its rows, in a run at a different place, and is vacuumed. Write-ahead log segments are left out.
# The server refuses to run as root, so everything it does is done as an account of its own.
# PG_BIN names the server's binaries, PG_PORT the port of its socket.
set -euo pipefail

[ $# -ge 1 ] || { sed -n 's/^# usage/usage/p' "$0" >&2; exit 2; }
scale=${2:-8}
base=$(realpath -m "$1")/postgres
bin=${PG_BIN:-$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)}
port=${PG_PORT:-5598}
account=bench_pg
tables=10
rows=$((scale * 100000))

run=$(mktemp -d /tmp/bench-pg.XXXXXX)
cluster=$run/cluster

as_server() { runuser -u "$account" -- env PATH="$bin:$PATH" "$@"; }
start_server() {
    as_server pg_ctl -D "$cluster" -l "$run/log" -w start >/dev/null \
        -o "-p $port -k $run -c listen_addresses='' -c fsync=off -c shared_buffers=512MB -c max_wal_size=4GB"
}
stop_server() { as_server pg_ctl -D "$cluster" -m fast -w stop >/dev/null; }
cleanup() {
    stop_server 2>/dev/null || true
    rm -rf "$run"
}
query() { as_server psql -qX -v ON_ERROR_STOP=1 -h "$run" -p "$port" -U postgres -d postgres; }
keep_state() {
    rm -rf "${base:?}/$1"
    mkdir -p "$base/$1"
    rsync -a --exclude 'pg_wal/*' --exclude postmaster.opts "$cluster/" "$base/$1/"
}

id "$account" >/dev/null 2>&1 || useradd --system --no-create-home "$account"
chown "$account" "$run"
trap cleanup EXIT
cd "$run"

as_server initdb -D "$cluster" -U postgres --data-checksums >/dev/null
start_server
as_server pgbench -i -q -s "$scale" -h "$run" -p "$port" -U postgres postgres 2>/dev/null
{
    for i in $(seq "$tables"); do echo "CREATE TABLE copy_$i AS TABLE pgbench_accounts;"; done
    echo "VACUUM ANALYZE; CHECKPOINT;"
} | query
stop_server
keep_state A

start_server
{
    for i in $(seq "$tables"); do
        first=$(((2 * i - 1) * rows / (2 * tables)))
        echo "DELETE FROM copy_$i WHERE aid BETWEEN $first AND $((first + rows / 100));"
    done
    echo "VACUUM ANALYZE; CHECKPOINT;"
} | query
stop_server
keep_state B
echo "postgres: $(du -sm "$base/A" | cut -f1) MB in A, $(du -sm "$base/B" | cut -f1) MB in B"
