#!/usr/bin/env python3
"""Runs reader.py over miniature repositories of `crates/repo-format/examples/tiny.rs`.

    test_tiny.py TINY_PROGRAM

Every object type, codec and field is restored and compared; then each object is damaged in turn.
"""

import json
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

READER = Path(__file__).with_name("reader.py")
MTIME = 1_700_000_000_123_456_789


def reader(*arguments):
    return subprocess.run([sys.executable, READER, *map(str, arguments)], capture_output=True, text=True)


def compare(restored, expected):
    for folder, _, files in os.walk(expected):
        for name in files:
            wanted = Path(folder, name)
            found = restored / wanted.relative_to(expected)
            assert found.read_bytes() == wanted.read_bytes(), found
            assert found.stat().st_mtime_ns == MTIME, found
    assert len(os.listdir(restored / "split")) == 40
    once = "changed directory empty linked-a linked-b long pipe sparse split symlink".split() + ["latin-\udce9"]
    # The second snapshot has a file that is stored against a delta.
    again = ["again"] * (expected / "again").exists()
    assert sorted(os.listdir(restored)) == sorted(once + again)
    mode = lambda name: os.lstat(restored / name).st_mode
    assert stat.S_IMODE(mode("changed")) == 0o4755 and stat.S_IMODE(mode("empty")) == 0o640
    assert stat.S_ISDIR(mode("directory")) and stat.S_IMODE(mode("split")) == 0o750
    assert os.lstat(restored / "directory").st_mtime_ns == os.lstat(restored / "symlink").st_mtime_ns == MTIME
    assert stat.S_ISFIFO(mode("pipe"))
    assert os.readlink(restored / "symlink") == "../outside"
    assert os.stat(restored / "linked-a").st_ino == os.stat(restored / "linked-b").st_ino
    assert os.stat(restored / "sparse").st_blocks * 512 < 40_000
    try:
        assert os.getxattr(restored / "changed", "user.note") == b"kept"
    except OSError as error:
        print("attributes are not compared:", error.strerror)


def damage(repository, password, target):
    """Flips a byte, cuts and removes each object; nothing wrong may be restored in silence."""
    count = 0
    # Packs and index objects of what only the removed snapshot needs may be damaged unseen; here both
    # snapshots share everything, so each object is needed. The other key slot and the checkpoint are not.
    objects = sorted(path for path in repository.rglob("*") if path.is_file())
    for path in objects:
        if path.parent.name == "keys" and len(objects) > 2:
            continue
        whole = path.read_bytes()
        for number, damaged in enumerate([flipped(whole, 0), flipped(whole, len(whole) - 1), whole[:-1], None]):
            if damaged is None:
                if path.suffix == ".checkpoint" or path.name == "00000000000000000004":
                    continue
                path.unlink()
            else:
                path.write_bytes(damaged)
            done = reader(repository, password, "restore", "latest", target / f"{count}")
            # The trailer of a pack serves readers without an index.
            assert done.returncode == 1 or (path.parts[-3] == "packs" and number in (1, 2)), (path, number)
            assert "Traceback" not in done.stderr, done.stderr
            path.write_bytes(whole)
            count += 1
    return count


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def main():
    for cipher in "012":
        with tempfile.TemporaryDirectory() as place:
            place = Path(place)
            subprocess.run([sys.argv[1], place, cipher], check=True)
            repository, password = place / "repository", "-" if cipher == "0" else "tiny"
            listed = reader(repository, password, "list")
            assert listed.returncode == 0, listed.stderr
            [snapshot] = map(json.loads, listed.stdout.splitlines())
            assert snapshot["tags"] == ["kept"] and snapshot["paths"] == ["/tiny"]
            assert snapshot["protected"] is True
            done = reader(repository, password, "restore", snapshot["id"], place / "restored")
            assert done.returncode == 0, done.stderr
            compare(place / "restored", place / "expected")
            wrong = "tiny" if cipher == "0" else "Tiny"
            assert reader(repository, wrong, "list").returncode == 1
            count = damage(repository, password, place)
            print(f"cipher {cipher}: restored, {count} damages noticed")


if __name__ == "__main__":
    main()
