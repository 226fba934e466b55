"""Delta tables for tests: made, changed and read by delta-rs, and read by DuckDB.

    delta.py make PLACE          a partitioned table with appends, deletes, compaction and a checkpoint
    delta.py append PLACE        one more commit
    delta.py churn PLACE STOP    writes, compacts and vacuums without end until the file STOP exists
    delta.py read PLACE          what delta-rs reads, as one JSON object
    delta.py duck PLACE          the same by DuckDB
"""

import json
import os
import sys

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, write_deltalake

PARTITIONS = ["a b/é%20", "x:y", "z"]


def storage():
    """Options of the object store, from the environment that `repo` has, too."""
    names = ["AWS_ENDPOINT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ALLOW_HTTP"]
    options = {name: os.environ[name] for name in names if name in os.environ}
    if options:
        options["AWS_S3_ALLOW_UNSAFE_RENAME"] = "true"
    return options


def rows(first, last):
    numbers = list(range(first, last))
    return pa.table({
        "id": pa.array(numbers, pa.int64()),
        "p": [PARTITIONS[number % 3] for number in numbers],
        "v": [str(number * 7) for number in numbers],
    })


def append(place, first, last):
    write_deltalake(place, rows(first, last), mode="append", partition_by=["p"], storage_options=storage())


def opened(place):
    return DeltaTable(place, storage_options=storage())


def make(place):
    for step in range(12):
        append(place, step * 1000, step * 1000 + 1000)
    opened(place).create_checkpoint()
    append(place, 20_000, 20_500)
    opened(place).delete("id % 10 = 3")
    opened(place).optimize.compact()
    append(place, 30_000, 30_100)


def churn(place, stop):
    first = 100_000
    while not os.path.exists(stop):
        append(place, first, first + 10)
        append(place, first + 10, first + 20)
        opened(place).optimize.compact()
        opened(place).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
        if first % 100 == 0:
            opened(place).create_checkpoint()
        first += 20


def said(version, table):
    parts = sorted(set(table["p"].to_pylist()))
    return {"version": version, "rows": table.num_rows, "sum": pc.sum(table["id"]).as_py(), "partitions": parts}


def read(place):
    table = opened(place)
    print(json.dumps(said(table.version(), table.to_pyarrow_table())))


def duck(place):
    import duckdb
    import duckdb_extensions

    connection = duckdb.connect()
    duckdb_extensions.import_extension("delta", con=connection)
    connection.execute("LOAD delta")
    table = connection.execute("SELECT id, p FROM delta_scan(?)", [place]).to_arrow_table()
    print(json.dumps(said(None, table)))


if __name__ == "__main__":
    {"make": make, "churn": churn, "read": read, "duck": duck,
     "append": lambda place: append(place, 40_000, 40_050)}[sys.argv[1]](*sys.argv[2:])
    # Threads of the libraries may abort an orderly end.
    sys.stdout.flush()
    os._exit(0)
