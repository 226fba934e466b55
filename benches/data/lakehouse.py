#!/usr/bin/env python3
"""Data set `lakehouse`: an Iceberg and a Delta table, before and after a day of changes.

usage: lakehouse.py DIR [ROWS=16000000]      writes DIR/lakehouse/A and DIR/lakehouse/B

Ten appends make A. For B, both tables get one append of a twentieth, and a copy-on-write delete of a
hundredth of the rows out of the middle; the Delta table is also compacted and checkpointed.
Needs pyiceberg with its SQLite catalog, deltalake, pyarrow and numpy.
"""
import os
import shutil
import sys

sys.dont_write_bytecode = True
from deltalake import DeltaTable, write_deltalake
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.expressions import And, GreaterThanOrEqual, LessThan
from tables import Rows

APPENDS = 10


def main():
    if len(sys.argv) < 2:
        sys.exit("usage: lakehouse.py DIR [ROWS]")
    base = os.path.abspath(f"{sys.argv[1]}/lakehouse")
    total = int(sys.argv[2]) if len(sys.argv) > 2 else 16_000_000
    live = f"{base}/live"
    shutil.rmtree(base, ignore_errors=True)
    os.makedirs(live)

    rows = Rows()
    step = total // APPENDS
    catalog = SqlCatalog("lake", uri=f"sqlite:///{live}/catalog.db", warehouse=f"file://{live}/warehouse")
    catalog.create_namespace("db")
    events = catalog.create_table("db.events", schema=rows.batch(0, 1).schema)
    orders = f"{live}/orders"
    for i in range(APPENDS):
        events.append(rows.batch(i * step, step))
    for i in range(APPENDS):
        write_deltalake(orders, rows.batch(i * step, step), mode="append")
    shutil.copytree(live, f"{base}/A")

    low, high = total // 2, total // 2 + total // 100
    events.append(rows.batch(total, total // 20))
    events.delete(And(GreaterThanOrEqual("id", low), LessThan("id", high)))
    write_deltalake(orders, rows.batch(total, total // 20), mode="append")
    delta = DeltaTable(orders)
    delta.delete(f"id >= {low} and id < {high}")
    delta.optimize.compact()
    delta.create_checkpoint()
    shutil.copytree(live, f"{base}/B")
    shutil.rmtree(live)
    print(f"lakehouse: {total} rows in each of two tables")


if __name__ == "__main__":
    main()
