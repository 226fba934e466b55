#!/usr/bin/env python3
"""Data set `incompressible`: one file that no codec makes smaller, and the same file changed twice.

usage: incompressible.py DIR [MB=1000]      writes DIR/incompressible/A and DIR/incompressible/B

B has one megabyte inserted at three tenths of the file and one megabyte overwritten in its middle.
"""
import os
import random
import shutil
import sys

MB = 1_000_000
NAME = "random.bin"


def main():
    if len(sys.argv) < 2:
        sys.exit("usage: incompressible.py DIR [MB]")
    base = os.path.abspath(f"{sys.argv[1]}/incompressible")
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    shutil.rmtree(base, ignore_errors=True)
    for state in "AB":
        os.makedirs(f"{base}/{state}")
    rng, other = random.Random(11), random.Random(12)
    with open(f"{base}/A/{NAME}", "wb") as a, open(f"{base}/B/{NAME}", "wb") as b:
        for i in range(count):
            block = rng.randbytes(MB)
            a.write(block)
            if i == count * 3 // 10:
                b.write(other.randbytes(MB))
            b.write(other.randbytes(MB) if i == count // 2 else block)
    print(f"incompressible: {count} MB")


if __name__ == "__main__":
    main()
