#!/usr/bin/env python3
"""Data set `parquet-rewrites`: one table as different writers rewrite it.

usage: parquet_rewrites.py DIR [ROWS=2000000]      writes DIR/parquet-rewrites/CODEC-PAGES/{A,B,C}

A is five files. B is the same five under other names, each without one hundredth of its rows (copy on
write). C is all rows of A compacted into one file. CODEC is zstd or snappy; PAGES is plain or cdc
(page boundaries found by content). Needs pyarrow and numpy.
"""
import os
import shutil
import sys

sys.dont_write_bytecode = True
import pyarrow as pa
import pyarrow.parquet as pq
from tables import Rows

FILES = 5


def without_middle(table):
    """The table less one hundredth of its rows, out of the middle."""
    half = table.num_rows // 2
    return pa.concat_tables([table.slice(0, half), table.slice(half + table.num_rows // 100)])


def main():
    if len(sys.argv) < 2:
        sys.exit("usage: parquet_rewrites.py DIR [ROWS]")
    base = os.path.abspath(f"{sys.argv[1]}/parquet-rewrites")
    each = (int(sys.argv[2]) if len(sys.argv) > 2 else 2_000_000) // FILES
    shutil.rmtree(base, ignore_errors=True)
    rows = Rows()
    parts = [rows.batch(i * each, each, kind=False) for i in range(FILES)]
    states = {
        "A": {f"{i}.parquet": part for i, part in enumerate(parts)},
        "B": {f"rewritten-{i}.parquet": without_middle(part) for i, part in enumerate(parts)},
        "C": {"compacted.parquet": pa.concat_tables(parts)},
    }
    for codec in ("zstd", "snappy"):
        for pages in ("plain", "cdc"):
            for state, files in states.items():
                folder = f"{base}/{codec}-{pages}/{state}"
                os.makedirs(folder)
                for name, table in files.items():
                    pq.write_table(table, f"{folder}/{name}", compression=codec,
                                   use_content_defined_chunking=pages == "cdc")
    print(f"parquet-rewrites: {each * FILES} rows, four kinds of file")


if __name__ == "__main__":
    main()
