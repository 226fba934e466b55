#!/usr/bin/env python3
"""Data set `source`: a tree of library sources, and the same tree after a week of development.

usage: source.py DIR [--files 70000] [--seed 1]      writes DIR/source/A and DIR/source/B

State A is what `cargo fetch` unpacks for the crates named below, into a cargo home of its own, so
that it does not depend on what the machine has built before. The crates' dependencies move with
time: numbers compare inside one run, not between years. State B is derived from A by the seed.
"""
import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile

ROOTS = {
    "actix-web": "=4.11.0",
    "aws-sdk-ec2": "=1.160.0",
    "aws-sdk-s3": "=1.100.0",
    "axum": "=0.8.4",
    "bevy": "=0.16.1",
    "datafusion": "=49.0.0",
    "gix": "=0.73.0",
    "librocksdb-sys": "=0.17.3",
    "libgit2-sys": "=0.18.2",
    "openssl-src": "=300.5.1",
    "polars": "=0.49.1",
    "sqlx": "=0.8.6",
    "tauri": "=2.8.0",
    "wasmtime": "=35.0.0",
}
# Bindings generated for one platform, over 100 MB each in several versions: they would be half of the tree.
SKIP = ("windows-0.",)
TEXT = (".rs", ".toml", ".md", ".c", ".h", ".cc", ".cpp", ".json", ".txt", ".py", ".s", ".S", ".asm")
EPOCH = 1_750_000_000  # Edits happen in the week after this second.
WEEK = 7 * 24 * 3600


def fetch(home):
    """Downloads and unpacks every crate that ROOTS need, on any platform."""
    with tempfile.TemporaryDirectory() as work:
        os.makedirs(f"{work}/src")
        open(f"{work}/src/lib.rs", "w").close()
        with open(f"{work}/Cargo.toml", "w") as out:
            out.write('[package]\nname = "source-tree"\nversion = "0.0.0"\nedition = "2021"\n\n[dependencies]\n')
            out.writelines(f'{name} = "{version}"\n' for name, version in ROOTS.items())
        own = os.path.expanduser(os.environ.get("CARGO_HOME", "~/.cargo"))
        if os.path.exists(f"{own}/config.toml"):
            shutil.copy(f"{own}/config.toml", home)
        subprocess.run(["cargo", "fetch", "--quiet"], cwd=work, env=dict(os.environ, CARGO_HOME=home), check=True)
    registry = f"{home}/registry/src"
    return os.path.join(registry, os.listdir(registry)[0])


def files_below(root):
    """Every regular file below `root`, relative and sorted."""
    found = []
    for folder, dirs, files in os.walk(root):
        dirs.sort()
        found += [os.path.relpath(os.path.join(folder, f), root) for f in files]
    return sorted(f for f in found if not os.path.islink(os.path.join(root, f)))


def make_a(a, limit):
    """Moves whole crates, in name order of a fixed shuffle, until the tree has `limit` files."""
    home = a + ".cargo-home"
    shutil.rmtree(home, ignore_errors=True)
    os.makedirs(home)
    try:
        crates = fetch(home)
        names = sorted(n for n in os.listdir(crates) if not n.startswith(SKIP))
        random.Random(0).shuffle(names)
        os.makedirs(a)
        count = 0
        for name in names:
            if count >= limit:
                break
            count += len(files_below(f"{crates}/{name}"))
            os.rename(f"{crates}/{name}", f"{a}/{name}")
    finally:
        shutil.rmtree(home, ignore_errors=True)


def stamp(rng, path):
    """Gives a file a time of change within the week, whole seconds apart from its neighbours."""
    when = EPOCH + rng.randrange(WEEK)
    os.utime(path, ns=(when * 10**9 + rng.randrange(10**9),) * 2)


def edit(rng, path):
    """Changes or inserts one to three lines."""
    with open(path, "rb") as src:
        lines = src.read().split(b"\n")
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(lines))
        model = lines[rng.randrange(len(lines))]
        word = b"value_%d" % rng.randrange(10**6)
        if rng.random() < 0.5:
            lines[at] = lines[at] + b" // see " + word
        else:
            lines.insert(at, model + b" " + word)
    with open(path, "wb") as out:
        out.write(b"\n".join(lines))
    stamp(rng, path)


def write_new(rng, root, beside):
    """Adds a file that reads like its crate: blocks of lines out of neighbours, with new names in them."""
    folder = os.path.join(root, os.path.dirname(beside))
    near = sorted(f for f in os.listdir(folder) if f.endswith(TEXT) and os.path.isfile(f"{folder}/{f}"))
    lines = []
    for _ in range(rng.randint(2, 6)):
        with open(f"{folder}/{rng.choice(near)}", "rb") as src:
            have = src.read().split(b"\n")
        start = rng.randrange(len(have))
        block = have[start : start + rng.randint(10, 60)]
        lines += [x + b" // n%d" % rng.randrange(10**6) if rng.random() < 0.1 else x for x in block]
    path = f"{folder}/added_{rng.randrange(10**9)}{os.path.splitext(beside)[1]}"
    with open(path, "wb") as out:
        out.write(b"\n".join(lines))
    stamp(rng, path)


def make_b(a, b, seed):
    """Derives the second state: 1 % edited, 0.3 % added, 0.3 % deleted, one crate renamed, a few touched."""
    subprocess.run(["cp", "-a", a, b], check=True)
    rng = random.Random(seed)
    files = files_below(b)
    text = [f for f in files if f.endswith(TEXT) and os.path.getsize(f"{b}/{f}") > 0]
    n = len(files)
    picked = rng.sample(text, n // 100 + 2 * (3 * n // 1000) + 20)
    edited, rest = picked[: n // 100], picked[n // 100 :]
    beside, rest = rest[: 3 * n // 1000], rest[3 * n // 1000 :]
    deleted, touched = rest[: 3 * n // 1000], rest[3 * n // 1000 :]
    for f in edited:
        edit(rng, f"{b}/{f}")
    for f in beside:
        write_new(rng, b, f)
    for f in deleted:
        os.remove(f"{b}/{f}")
    for f in touched:
        stamp(rng, f"{b}/{f}")
    sizes = {c: len(files_below(f"{b}/{c}")) for c in sorted(os.listdir(b))}
    moved = rng.choice([c for c, count in sizes.items() if 100 <= count <= 300] or list(sizes))
    os.rename(f"{b}/{moved}", f"{b}/{moved}-moved")
    print(f"source: {n} files; {len(edited)} edited, {len(beside)} added, {len(deleted)} deleted, "
          f"{len(touched)} touched, {moved} renamed")


def main():
    args = argparse.ArgumentParser(usage=__doc__)
    args.add_argument("dir")
    args.add_argument("--files", type=int, default=70_000)
    args.add_argument("--seed", type=int, default=1)
    args = args.parse_args()
    base = os.path.abspath(f"{args.dir}/source")
    shutil.rmtree(base, ignore_errors=True)
    os.makedirs(base)
    make_a(f"{base}/A", args.files)
    make_b(f"{base}/A", f"{base}/B", args.seed)


if __name__ == "__main__":
    sys.exit(main())
