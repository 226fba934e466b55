"""Makes Iceberg tables with real engines, and reads them with real engines.

    iceberg.py make-pyiceberg WAREHOUSE
    iceberg.py make-spark WAREHOUSE
    iceberg.py churn WAREHOUSE STOP
    iceberg.py catalog-make|catalog-append|catalog-drop NAME
    iceberg.py catalog-read NAME...
    iceberg.py pyiceberg METADATA...
    iceberg.py duckdb METADATA...
    iceberg.py spark WAREHOUSE TABLE...

The catalog of the last two is "test" as PyIceberg's environment has it.
Readers print one JSON object: for each table what every snapshot, branch and tag holds.
"""

import datetime
import glob
import hashlib
import json
import os
import sys


def digest(rows):
    """What rows are, whatever their order."""
    lines = sorted(repr(row) for row in rows)
    text = "\n".join(lines)
    return {"rows": len(lines), "digest": hashlib.sha256(text.encode()).hexdigest()}


# ---- PyIceberg


def catalog(warehouse):
    from pyiceberg.catalog.sql import SqlCatalog

    os.makedirs(warehouse, exist_ok=True)
    uri = f"sqlite:///{warehouse}/catalog.db"
    return SqlCatalog("test", uri=uri, warehouse=f"file://{warehouse}")


def some_rows(start, count, extra=None):
    import pyarrow as pa

    ids = range(start, start + count)
    day = datetime.datetime(2026, 1, 1)
    columns = {
        "id": pa.array(ids, pa.int64()),
        "name": pa.array([f"name {i % 7}" for i in ids], pa.string()),
        "at": pa.array([day + datetime.timedelta(days=i % 3) for i in ids], pa.timestamp("us")),
        "tags": pa.array([[f"t{i % 2}", "x"] for i in ids], pa.list_(pa.string())),
        "point": pa.array(
            [{"x": i * 0.5, "y": -i} for i in ids],
            pa.struct([("x", pa.float64()), ("y", pa.int64())]),
        ),
    }
    if extra:
        columns[extra] = pa.array([i % 11 for i in ids], pa.int64())
    return pa.table(columns)


def make_pyiceberg(warehouse):
    from pyiceberg.expressions import EqualTo
    from pyiceberg.transforms import BucketTransform, DayTransform
    from pyiceberg.types import LongType

    names = catalog(warehouse)
    names.create_namespace("db")
    kinds = [
        ("plain_v1", {"format-version": "1"}),
        ("plain_v2", {"format-version": "2"}),
        ("gzip_v2", {"format-version": "2", "write.metadata.compression-codec": "gzip"}),
        ("zstd_v2", {"format-version": "2", "write.avro.compression-codec": "zstandard"}),
        ("snappy_v2", {"format-version": "2", "write.avro.compression-codec": "snappy"}),
        ("null_v2", {"format-version": "2", "write.avro.compression-codec": "null"}),
        (
            "elsewhere_v2",
            {
                "format-version": "2",
                "write.data.path": f"file://{warehouse}/elsewhere/data",
                "write.object-storage.enabled": "true",
            },
        ),
    ]
    for name, properties in kinds:
        table = names.create_table(f"db.{name}", some_rows(0, 0).schema, properties=properties)
        with table.update_spec() as update:
            update.add_field("id", BucketTransform(3), "id_bucket")
            update.add_field("at", DayTransform(), "at_day")
        table.append(some_rows(0, 40))
        table.append(some_rows(40, 25))
        snapshot = table.current_snapshot().snapshot_id
        table.manage_snapshots().create_tag(snapshot, "before").commit()
        with table.update_schema() as update:
            update.add_column("more", LongType())
            update.rename_column("name", "label")
        rows = some_rows(65, 10, extra="more").rename_columns(
            ["id", "label", "at", "tags", "point", "more"]
        )
        table.append(rows)
        # Copy on write: files are gone from the newest snapshot and alive in older ones.
        table.delete(EqualTo("label", "name 3"))
        first = table.snapshots()[0].snapshot_id
        # The files of an expired snapshot that are still in use.
        table.maintenance.expire_snapshots().by_id(first).commit()


def churn(warehouse, stop):
    """Appends, rewrites, expires and removes what nothing refers to, until a file is there."""
    from pyiceberg.expressions import EqualTo

    names = catalog(warehouse)
    names.create_namespace("db")
    table = names.create_table("db.t", some_rows(0, 0).schema, properties={"format-version": "2"})
    turn = 0
    while not os.path.exists(stop):
        table.append(some_rows(turn * 40, 40))
        table.delete(EqualTo("name", f"name {turn % 7}"))
        if turn % 4 == 3:
            table.overwrite(table.scan().to_arrow())
        current = table.current_snapshot().snapshot_id
        old = [s.snapshot_id for s in table.snapshots() if s.snapshot_id != current]
        if old:
            table.maintenance.expire_snapshots().by_ids(old).commit()
        remove_orphans(table)
        turn += 1


def remove_orphans(table):
    live = {table.metadata_location}
    for snapshot in table.snapshots():
        live.add(snapshot.manifest_list)
        for manifest in snapshot.manifests(table.io):
            live.add(manifest.manifest_path)
            live |= {e.data_file.file_path for e in manifest.fetch_manifest_entry(table.io)}
    place = table.location().removeprefix("file://")
    for directory, _, files in os.walk(place):
        for name in files:
            path = os.path.join(directory, name)
            if f"file://{path}" not in live:
                os.remove(path)


def states_of(table):
    states = {str(s.snapshot_id): s.snapshot_id for s in table.snapshots()}
    states |= {name: ref.snapshot_id for name, ref in table.metadata.refs.items()}
    return {
        name: digest(table.scan(snapshot_id=at).to_arrow().to_pylist())
        for name, at in states.items()
    }


def read_pyiceberg(places):
    from pyiceberg.table import StaticTable

    return {place: states_of(StaticTable.from_metadata(place)) for place in places}


# ---- PyIceberg through a catalog


def in_catalog(command, names):
    from pyiceberg.catalog import load_catalog
    from pyiceberg.expressions import EqualTo

    tables = load_catalog("test")
    if command == "catalog-read":
        return {name: states_of(tables.load_table(name)) for name in names}
    (name,) = names
    if command == "catalog-make":
        tables.create_namespace_if_not_exists(name.rsplit(".", 1)[0])
        table = tables.create_table(name, some_rows(0, 0).schema)
        table.append(some_rows(0, 40))
        table.manage_snapshots().create_tag(table.current_snapshot().snapshot_id, "before").commit()
        table.append(some_rows(40, 20))
        table.delete(EqualTo("name", "name 3"))
    elif command == "catalog-append":
        tables.load_table(name).append(some_rows(1000, 7))
    elif command == "catalog-drop":
        tables.drop_table(name)
    return {}


# ---- DuckDB


def read_duckdb(places):
    import duckdb
    import duckdb_extensions

    connection = duckdb.connect()
    for extension in ["avro", "iceberg"]:
        duckdb_extensions.import_extension(extension, con=connection)
        connection.execute(f"LOAD {extension}")
    read = {}
    for place in places:
        found = connection.execute("SELECT snapshot_id FROM iceberg_snapshots(?)", [place])
        read[place] = {}
        for (snapshot,) in found.fetchall():
            query = f"SELECT * FROM iceberg_scan(?, snapshot_from_id => {snapshot}::UBIGINT)"
            rows = connection.execute(query, [place]).fetchall()
            read[place][str(snapshot)] = digest(rows)
    return read


# ---- Spark


def spark(warehouse):
    from pyspark.sql import SparkSession
    import snowpark_connect_deps_iceberg as jars

    place = os.path.dirname(jars.__file__)
    found = glob.glob(f"{place}/jars/iceberg-spark-*3.5_2.12-*.jar")
    extensions = "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions"
    return (
        SparkSession.builder.master("local[2]")
        .config("spark.jars", ",".join(found))
        .config("spark.driver.memory", "1g")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.log.level", "ERROR")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.sql.extensions", extensions)
        .config("spark.sql.catalog.lake", "org.apache.iceberg.spark.SparkCatalog")
        .config("spark.sql.catalog.lake.type", "hadoop")
        .config("spark.sql.catalog.lake.warehouse", f"file://{warehouse}")
        .getOrCreate()
    )


MERGE_ON_READ = (
    "'write.delete.mode'='merge-on-read', 'write.update.mode'='merge-on-read', "
    "'write.merge.mode'='merge-on-read', 'write.distribution-mode'='none'"
)


def make_spark(warehouse):
    session = spark(warehouse)
    elsewhere = f"'write.data.path'='file:{warehouse}/elsewhere/moved'"
    kinds = {
        "mor_v2": f"'format-version'='2', {MERGE_ON_READ}, {elsewhere}",
        "vectors_v3": f"'format-version'='3', {MERGE_ON_READ}",
        "avro_v2": f"'format-version'='2', {MERGE_ON_READ}, 'write.delete.format.default'='avro'",
        "orc_v2": f"'format-version'='2', {MERGE_ON_READ}, 'write.delete.format.default'='orc'",
        "gzip_v2": f"'format-version'='2', {MERGE_ON_READ}, "
        "'write.metadata.compression-codec'='gzip', 'write.delete.granularity'='partition'",
    }
    for name, properties in kinds.items():
        run = lambda query: session.sql(query.replace("TABLE_NAME", f"lake.db.{name}"))
        run(
            "CREATE TABLE TABLE_NAME (id bigint, name string, day date, point struct<x: double, y: int>)"
            f" USING iceberg PARTITIONED BY (day, bucket(2, id)) TBLPROPERTIES ({properties})"
        )
        rows = (
            "SELECT id, concat('name ', id % 7) AS name, date_add(DATE'2026-01-01', int(id % 2)) AS day,"
            " named_struct('x', id / 2.0D, 'y', int(id)) AS point FROM range({}, {}, 1, 1)"
        )
        run("INSERT INTO TABLE_NAME " + rows.format(0, 60))
        run("INSERT INTO TABLE_NAME " + rows.format(60, 90))
        run("DELETE FROM TABLE_NAME WHERE id % 10 = 3")
        run("ALTER TABLE TABLE_NAME CREATE TAG before RETAIN 3650 DAYS")
        run("ALTER TABLE TABLE_NAME ADD COLUMN more bigint")
        run("ALTER TABLE TABLE_NAME RENAME COLUMN name TO label")
        run("UPDATE TABLE_NAME SET more = id * 2 WHERE id % 6 = 1")
        run("ALTER TABLE TABLE_NAME CREATE BRANCH side")
        run("INSERT INTO TABLE_NAME.branch_side VALUES (1000, 'side', DATE'2026-01-01', NULL, 5)")
        run("DELETE FROM TABLE_NAME WHERE id IN (4, 71)")
        session.sql(f"CALL lake.system.compute_table_stats(table => 'db.{name}')")
        session.sql(f"CALL lake.system.rewrite_manifests('db.{name}')")
        first = run("SELECT snapshot_id FROM TABLE_NAME.snapshots ORDER BY committed_at").first()[0]
        session.sql(
            f"CALL lake.system.expire_snapshots(table => 'db.{name}', snapshot_ids => array({first}))"
        )
    session.stop()


def read_spark(warehouse, names):
    session = spark(warehouse)
    read = {}
    for name in names:
        table = f"lake.db.{name}"
        query = f"SELECT snapshot_id FROM {table}.snapshots"
        states = [str(row[0]) for row in session.sql(query).collect()]
        states += [f"'{row[0]}'" for row in session.sql(f"SELECT name FROM {table}.refs").collect()]
        read[name] = {
            state: digest(session.sql(f"SELECT * FROM {table} VERSION AS OF {state}").collect())
            for state in states
        }
    session.stop()
    return read


def main():
    command, *arguments = sys.argv[1:]
    if command == "make-pyiceberg":
        make_pyiceberg(*arguments)
    elif command == "make-spark":
        make_spark(*arguments)
    elif command == "churn":
        churn(*arguments)
    elif command.startswith("catalog-"):
        print(json.dumps(in_catalog(command, arguments)))
    elif command == "pyiceberg":
        print(json.dumps(read_pyiceberg(arguments)))
    elif command == "duckdb":
        print(json.dumps(read_duckdb(arguments)))
    elif command == "spark":
        print(json.dumps(read_spark(arguments[0], arguments[1:])))
    else:
        sys.exit(__doc__)


main()
