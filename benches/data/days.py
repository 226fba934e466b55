#!/usr/bin/env python3
"""A table that is worked on day by day, for the year of `repo-benches tables`.

usage: days.py DIR WRITER ROWS      makes DIR/table, then does the work of one day for each line read

Each day appends ROWS rows, deletes a hundredth of all rows (a range of ids) by rewriting the files they are in,
and merges as many rows as a hundredth of a day's: half of them new values for rows of the last week, half new rows.
Each seventh day all files are compacted into one, and what the newest version does not need is removed.
Writers: `delta-rs`; `pyiceberg`; `pyarrow` and `pyarrow-cdc`, which write the files of a Delta table by PyArrow, the
latter with content-defined pages, and its log as the protocol says. After each line it says how many rows there are.
"""
import glob
import json
import os
import sys
import uuid

sys.dont_write_bytecode = True
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tables import Rows

WEEK = 7


def between(low, high):
    return (pc.field("id") >= low) & (pc.field("id") < high)


class DeltaRs:
    """Written by delta-rs."""

    def __init__(self, place):
        self.place = f"{place}/table"

    def table(self):
        from deltalake import DeltaTable
        return DeltaTable(self.place)

    def append(self, rows):
        from deltalake import write_deltalake
        write_deltalake(self.place, rows, mode="append")

    def delete(self, low, high):
        self.table().delete(f"id >= {low} and id < {high}")

    def merge(self, rows):
        merger = self.table().merge(rows, "t.id = s.id", source_alias="s", target_alias="t")
        merger.when_matched_update_all().when_not_matched_insert_all().execute()

    def compact(self):
        self.table().optimize.compact()
        self.table().create_checkpoint()
        self.table().vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)

    def count(self):
        return self.table().to_pyarrow_dataset().count_rows()


class PyArrow:
    """A Delta table whose files PyArrow writes."""

    def __init__(self, place, cdc):
        self.place, self.options = f"{place}/table", {"compression": "snappy", "use_content_defined_chunking": cdc}
        os.makedirs(f"{self.place}/_delta_log", exist_ok=True)
        self.version, self.live, self.removed = 0, {}, []

    def write(self, rows):
        """Writes a file; gives the action that adds it."""
        name = f"part-{uuid.uuid4()}.parquet"
        path = f"{self.place}/{name}"
        pq.write_table(rows, path, **self.options)
        ids = rows["id"]
        self.live[name] = (pc.min(ids).as_py(), pc.max(ids).as_py())
        return {"add": {"path": name, "partitionValues": {}, "size": os.path.getsize(path), "modificationTime": 1,
                        "dataChange": True, "stats": json.dumps({"numRecords": rows.num_rows})}}

    def commit(self, *actions):
        if self.version == 0:
            kinds = {"id": "long", "user": "long", "ts": "timestamp_ntz", "amount": "double"}
            names = pq.read_schema(f"{self.place}/{next(iter(self.live))}").names
            fields = [{"name": name, "type": kinds.get(name, "string"), "nullable": True, "metadata": {}} for name in names]
            used = ["timestampNtz"]
            actions = ({"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": used, "writerFeatures": used}},
                       {"metaData": {"id": str(uuid.uuid4()), "format": {"provider": "parquet", "options": {}},
                                     "schemaString": json.dumps({"type": "struct", "fields": fields}), "partitionColumns": [],
                                     "configuration": {}, "createdTime": 1}}, *actions)
        with open(f"{self.place}/_delta_log/{self.version:020}.json", "x") as file:
            file.writelines(json.dumps(action) + "\n" for action in actions)
        self.version += 1

    def remove(self, name):
        del self.live[name]
        self.removed.append(name)
        return {"remove": {"path": name, "deletionTimestamp": 1, "dataChange": True}}

    def append(self, rows):
        self.commit(self.write(rows))

    def rewrite(self, low, high, change):
        """Rewrites the files that have ids in a range."""
        actions = []
        for name, (first, last) in list(self.live.items()):
            if first < high and low <= last:
                rows = change(pq.read_table(f"{self.place}/{name}"))
                actions += [self.remove(name), self.write(rows)] if rows.num_rows else [self.remove(name)]
        return actions

    def delete(self, low, high):
        actions = self.rewrite(low, high, lambda rows: rows.filter(~between(low, high)))
        if actions:
            self.commit(*actions)

    def merge(self, rows):
        ids, known = rows["id"], set()

        def update(old):
            place = np.asarray(pc.fill_null(pc.index_in(old["id"], ids), -1))
            known.update(place[place >= 0].tolist())
            picked = np.where(place >= 0, old.num_rows + place, np.arange(old.num_rows))
            return pa.concat_tables([old, rows]).take(pa.array(picked))

        low, high = pc.min(ids).as_py(), pc.max(ids).as_py() + 1
        actions = self.rewrite(low, high, update)
        new = rows.take(pa.array([at for at in range(rows.num_rows) if at not in known], pa.int64()))
        self.commit(*actions, self.write(new))

    def compact(self):
        rows = pa.concat_tables(pq.read_table(f"{self.place}/{name}") for name in self.live)
        self.commit(*[self.remove(name) for name in list(self.live)], self.write(rows))
        for name in self.removed:
            os.remove(f"{self.place}/{name}")
        self.removed.clear()

    def count(self):
        return sum(pq.read_metadata(f"{self.place}/{name}").num_rows for name in self.live)


class PyIceberg:
    """Written by PyIceberg; it has neither compaction nor a way to remove files, so both are done here."""

    def __init__(self, place):
        from pyiceberg.catalog.sql import SqlCatalog
        self.root = f"{place}/table"
        self.catalog = SqlCatalog("year", uri=f"sqlite:///{place}/catalog.db", warehouse=f"file://{place}")
        self.catalog.create_namespace("n")
        self.table = None

    def append(self, rows):
        if self.table is None:
            properties = {"write.metadata.delete-after-commit.enabled": "true", "write.metadata.previous-versions-max": "20"}
            self.table = self.catalog.create_table("n.t", schema=rows.schema, location=f"file://{self.root}", properties=properties)
        self.table.append(rows)

    def delete(self, low, high):
        from pyiceberg.expressions import And, GreaterThanOrEqual, LessThan
        self.table.delete(And(GreaterThanOrEqual("id", low), LessThan("id", high)))

    def merge(self, rows):
        from pyiceberg.expressions import In
        self.table.overwrite(rows, overwrite_filter=In("id", rows["id"].to_pylist()))

    def compact(self):
        self.table.overwrite(self.table.scan().to_arrow())
        newest = self.table.current_snapshot().snapshot_id
        older = [snapshot.snapshot_id for snapshot in self.table.snapshots() if snapshot.snapshot_id != newest]
        self.table.maintenance.expire_snapshots().by_ids(older).commit()
        self.table = self.catalog.load_table("n.t")
        kept = {task.file.file_path for task in self.table.scan().plan_files()}
        for snapshot in self.table.snapshots():
            kept.add(snapshot.manifest_list)
            kept.update(manifest.manifest_path for manifest in snapshot.manifests(self.table.io))
        for path in glob.glob(f"{self.root}/**/*", recursive=True):
            if path.endswith((".parquet", ".avro")) and f"file://{path}" not in kept:
                os.remove(path)

    def count(self):
        return self.table.scan().count()


def day(writer, number, made, rows):
    first = number * rows * 2
    writer.append(made.batch(first, rows))
    # A hundredth of the ids there are, at a place that moves through the table.
    width = max(first + rows, 100) // 100
    low = (number * 37 % 97) * (first + rows) // 97
    writer.delete(low, low + width)
    some = max(rows // 200, 1)
    back = max(number - number % WEEK, 0) * rows * 2
    old = made.batch(back + width % max(rows - some, 1), some)
    writer.merge(pa.concat_tables([old, made.batch(first + rows, some)]))
    if number % WEEK == WEEK - 1:
        writer.compact()


def main():
    place, kind, rows = os.path.abspath(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    os.makedirs(place)
    makers = {"delta-rs": lambda: DeltaRs(place), "pyiceberg": lambda: PyIceberg(place),
              "pyarrow": lambda: PyArrow(place, False), "pyarrow-cdc": lambda: PyArrow(place, True)}
    writer, made = makers[kind](), Rows()
    for number, _ in enumerate(sys.stdin):
        day(writer, number, made, rows)
        print(writer.count(), flush=True)


if __name__ == "__main__":
    main()
    # Threads of the libraries may abort an orderly end.
    sys.stdout.flush()
    os._exit(0)
