"""Delta tables for tests: made, changed and read by delta-rs, and read by DuckDB.

    delta.py make PLACE          a partitioned table with appends, deletes, compaction and a checkpoint
    delta.py append PLACE        one more commit
    delta.py churn PLACE STOP    writes, compacts and vacuums without end until the file STOP exists
    delta.py read PLACE          what delta-rs reads, as one JSON object
    delta.py versions PLACE      the same for every version that it can read
    delta.py duck PLACE          the same by DuckDB
    delta.py multipart PLACE     a table whose checkpoint is in two parts
    delta.py features PLACE      a table with a deletion vector, column mapping, and a checkpoint in sidecars

What delta-rs does not write is made by hand after the protocol's text; readers show that it is right.
"""

import json
import os
import struct
import sys
import zlib

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
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


def versions(place):
    found = []
    for version in range(opened(place).version() + 1):
        try:
            table = DeltaTable(place, version=version, storage_options=storage())
            found.append(said(version, table.to_pyarrow_table()))
        except Exception:
            # Cleaned away, as it is for every reader.
            continue
    print(json.dumps(found))


def multipart(place):
    append(place, 0, 1000)
    append(place, 1000, 2000)
    opened(place).create_checkpoint()
    log = f"{place}/_delta_log"
    name = f"{log}/{1:020}.checkpoint"
    whole = pq.read_table(f"{name}.parquet")
    middle = whole.num_rows // 2
    for number, part in enumerate([whole.slice(0, middle), whole.slice(middle)], 1):
        pq.write_table(part, f"{name}.{number:010}.0000000002.parquet")
    os.remove(f"{name}.parquet")
    os.remove(f"{log}/_last_checkpoint")
    # Only the checkpoint tells of its files now.
    os.remove(f"{log}/{0:020}.json")
    append(place, 2000, 2100)


def vector(positions):
    """The file of one deletion vector: a 64-bit roaring bitmap with one array."""
    values = b"".join(struct.pack("<H", position) for position in positions)
    bitmap = struct.pack("<IIHHI", 12346, 1, 0, len(positions) - 1, 16) + values
    data = struct.pack("<IQI", 1681511377, 1, 0) + bitmap
    return b"\x01" + struct.pack(">I", len(data)) + data + struct.pack(">I", zlib.crc32(data)), len(data)


def features(place):
    log = f"{place}/_delta_log"
    os.makedirs(f"{log}/_sidecars")
    os.makedirs(f"{place}/Xy")
    names = {"id": "col-1", "p": "col-2"}
    adds = []
    for number in range(2):
        numbers = pa.array(range(number * 100, number * 100 + 100), pa.int64())
        field = pa.field("col-1", pa.int64(), metadata={"PARQUET:field_id": "1"})
        path = f"Xy/part-{number}.parquet"
        pq.write_table(pa.Table.from_arrays([numbers], schema=pa.schema([field])), f"{place}/{path}")
        adds.append({"path": path, "partitionValues": {"col-2": f"p{number}"}, "size": os.path.getsize(f"{place}/{path}"),
                     "modificationTime": 1, "dataChange": True, "stats": json.dumps({"numRecords": 100})})
    # Rows 3, 4 and 99 of the first file; the name is the example of the protocol.
    os.makedirs(f"{place}/ab")
    content, size = vector([3, 4, 99])
    with open(f"{place}/ab/deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin", "wb") as file:
        file.write(content)
    adds[0]["deletionVector"] = {"storageType": "u", "pathOrInlineDv": "ab^-aqEH.-t@S}K{vb[*k^", "offset": 1,
                                 "sizeInBytes": size, "cardinality": 3}
    kinds = {"id": "long", "p": "string"}
    fields = [{"name": name, "type": kinds[name], "nullable": True,
               "metadata": {"delta.columnMapping.id": number, "delta.columnMapping.physicalName": names[name]}}
              for number, name in enumerate(names, 1)]
    used = ["columnMapping", "deletionVectors", "v2Checkpoint"]
    protocol = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": used, "writerFeatures": used}
    metadata = {"id": "features", "format": {"provider": "parquet", "options": {}}, "partitionColumns": ["p"],
                "schemaString": json.dumps({"type": "struct", "fields": fields}), "createdTime": 1,
                "configuration": {"delta.columnMapping.mode": "name", "delta.columnMapping.maxColumnId": "2",
                                  "delta.enableDeletionVectors": "true", "delta.checkpointPolicy": "v2"}}
    text = pa.string()
    shape = pa.struct([
        ("path", text), ("partitionValues", pa.map_(text, text)), ("size", pa.int64()), ("modificationTime", pa.int64()),
        ("dataChange", pa.bool_()), ("stats", text),
        ("deletionVector", pa.struct([("storageType", text), ("pathOrInlineDv", text), ("offset", pa.int32()),
                                      ("sizeInBytes", pa.int32()), ("cardinality", pa.int64())]))])
    rows = [{**add, "partitionValues": list(add["partitionValues"].items())} for add in adds]
    sidecar = f"{log}/_sidecars/3a0d65cd-4056-49b8-937b-95f9e3ee90e5.parquet"
    pq.write_table(pa.table({"add": pa.array(rows, shape)}), sidecar)
    named = {"path": os.path.basename(sidecar), "sizeInBytes": os.path.getsize(sidecar), "modificationTime": 1}
    checkpoint = [{"checkpointMetadata": {"version": 0}}, {"protocol": protocol}, {"metaData": metadata}, {"sidecar": named}]
    name = f"{log}/{0:020}.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.json"
    for path, actions in [
            (f"{log}/{0:020}.json", [{"commitInfo": {}}, {"protocol": protocol}, {"metaData": metadata}, *[{"add": add} for add in adds]]),
            (name, checkpoint), (f"{log}/{1:020}.json", [{"commitInfo": {"operation": "nothing"}}])]:
        with open(path, "w") as file:
            file.writelines(json.dumps(action) + "\n" for action in actions)


def duck(place):
    import duckdb
    import duckdb_extensions

    connection = duckdb.connect()
    duckdb_extensions.import_extension("delta", con=connection)
    connection.execute("LOAD delta")
    table = connection.execute("SELECT id, p FROM delta_scan(?)", [place]).to_arrow_table()
    print(json.dumps(said(None, table)))


if __name__ == "__main__":
    {"make": make, "churn": churn, "read": read, "duck": duck, "versions": versions, "multipart": multipart,
     "features": features,
     "append": lambda place: append(place, 40_000, 40_050)}[sys.argv[1]](*sys.argv[2:])
    # Threads of the libraries may abort an orderly end.
    sys.stdout.flush()
    os._exit(0)
