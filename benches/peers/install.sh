#!/bin/bash
# Puts the tools that `repo` is measured against, and the Python packages of the data makers, into DIR.
#
# usage: install.sh [DIR=./peers]      leaves DIR/bin/{restic,rustic,borg,pgbackrest} and DIR/venv/bin/python
#
# Wants root on Debian, cargo and python3. restic and pgBackRest come out of the packages of the release
# that has them new enough, unpacked beside the system and not into it; where they come from is what the
# machine is already set up to use. rustic is built, which takes some minutes. What is there is kept.
set -euo pipefail

dir=$(realpath -m "${1:-peers}")
release=trixie
rustic_version=0.11.4
mkdir -p "$dir/bin" "$dir/apt/partial" "$dir/deb"
cd "$dir"

from_release() {
    local mirror
    mirror=$(awk '$1 == "URIs:" { print $2; exit }' /etc/apt/sources.list.d/*.sources)
    [ -n "$mirror" ] || { echo "install.sh: no Debian source is set up on this machine" >&2; exit 1; }
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $release main" > release.list
    local apt=(apt-get -qq -o "Dir::Etc::SourceList=$dir/release.list" -o Dir::Etc::SourceParts=/dev/null
        -o "Dir::State::Lists=$dir/apt" -o APT::Sandbox::User=root)
    "${apt[@]}" update
    (cd deb && "${apt[@]}" download "$@")
    for package in deb/*.deb; do dpkg-deb -x "$package" root; done
}

if ! [ -x bin/restic ] || ! [ -x bin/pgbackrest ]; then
    from_release restic pgbackrest
    ln -sf ../root/usr/bin/restic ../root/usr/bin/pgbackrest bin/
fi
if ! command -v borg rsync >/dev/null || ! ls /usr/lib/postgresql/*/bin/pgbench >/dev/null 2>&1; then
    apt-get -qq update
    apt-get -qq install -y borgbackup rsync postgresql postgresql-contrib >/dev/null
fi
ln -sf "$(command -v borg)" bin/borg
[ -x bin/rustic ] || cargo install --quiet --locked --root "$dir" --version "$rustic_version" --features mount rustic-rs
if ! [ -x venv/bin/python ]; then
    python3 -m venv venv
    venv/bin/pip install --quiet 'pyiceberg[sql-sqlite,pyarrow]' deltalake pyarrow numpy
fi
for tool in restic rustic borg; do "bin/$tool" --version 2>/dev/null || "bin/$tool" version; done
bin/pgbackrest version
