#!/usr/bin/env python3
"""Data set `million`: very many very small files, half of them in one directory.

usage: million.py DIR [FILES=1000000]      writes DIR/million/A and DIR/million/B

Files hold 20 to 400 bytes of text. B has one in a thousand rewritten, and as many added and deleted.
"""
import os
import random
import shutil
import subprocess
import sys

EPOCH = 1_750_000_000
FANOUT = 500


def content(rng):
    words = rng.choices(("alpha", "beta", "gamma", "delta", "one", "two", "%08x" % rng.getrandbits(32)), k=rng.randint(4, 60))
    return " ".join(words).encode()


def path(root, i):
    """Even numbers share one directory, odd ones are spread over many."""
    return f"{root}/flat/f{i:08}" if i % 2 == 0 else f"{root}/deep/{i // FANOUT:05}/f{i:08}"


def put(root, i, data, when):
    name = path(root, i)
    os.makedirs(os.path.dirname(name), exist_ok=True)
    with open(name, "wb") as out:
        out.write(data)
    os.utime(name, (when, when))


def main():
    if len(sys.argv) < 2:
        sys.exit("usage: million.py DIR [FILES]")
    base = os.path.abspath(f"{sys.argv[1]}/million")
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
    shutil.rmtree(base, ignore_errors=True)
    rng = random.Random(13)
    for i in range(count):
        put(f"{base}/A", i, content(rng), EPOCH + i % 86_400)
    subprocess.run(["cp", "-a", f"{base}/A", f"{base}/B"], check=True)
    picked = rng.sample(range(count), max(count // 1000, 1) * 2)
    for i in picked[::2]:
        put(f"{base}/B", i, content(rng), EPOCH + 100_000)
    for i in picked[1::2]:
        os.remove(path(f"{base}/B", i))
        put(f"{base}/B", count + i, content(rng), EPOCH + 100_000)
    print(f"million: {count} files, {len(picked) // 2} each rewritten, added, deleted")


if __name__ == "__main__":
    main()
