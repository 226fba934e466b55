//! Iceberg tables made by PyIceberg and Spark, saved and restored by the real binary, and read again by
//! PyIceberg, DuckDB and Spark with the source out of the way: at every snapshot, branch and tag.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use repo_testkit::{Seaweed, tool};
use repo_tests::postgres::{Place, Programs};
use repo_tests::program::{Home, Run};
use repo_tests::server::pause;
use serde_json::Value;

fn python() -> PathBuf {
    tool("venv-iceberg/bin/python")
}

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tables/iceberg.py");

/// Runs the script beside this test; gives what it said.
#[track_caller]
fn iceberg(home: &Home, arguments: &[&str]) -> String {
    let mut command = home.command(python());
    let run = Run::of(&command.arg(SCRIPT).args(arguments).output().expect("a run"));
    run.expect(0).stdout
}

/// A place in the home, as text.
fn at(home: &Home, name: &str) -> String {
    home.path(name).to_str().expect("UTF-8").to_owned()
}

/// What a reader finds in tables: by table, what each of its states holds.
#[track_caller]
fn read(home: &Home, reader: &str, tables: &BTreeMap<String, String>) -> BTreeMap<String, Value> {
    // DuckDB knows no zstd in Avro.
    let known = |name: &str| reader != "duckdb" || !name.contains("zstd");
    let tables: Vec<_> = tables.iter().filter(|(name, _)| known(name)).collect();
    let places = tables.iter().map(|(_, place)| place.as_str());
    let arguments: Vec<_> = [reader].into_iter().chain(places).collect();
    let mut told: BTreeMap<String, Value> =
        serde_json::from_str(&iceberg(home, &arguments)).expect("JSON");
    let states = tables.into_iter().map(|(name, place)| {
        let states = told.remove(place).expect("the table");
        assert!(!states.as_object().expect("states").is_empty(), "{name}");
        (name.clone(), states)
    });
    states.collect()
}

type Read = [BTreeMap<String, Value>; 2];

fn both(home: &Home, tables: &BTreeMap<String, String>) -> Read {
    ["pyiceberg", "duckdb"].map(|reader| read(home, reader, tables))
}

/// The current metadata of tables, by their names, as the program says in messages of a kind.
fn metadata_of(messages: &[Value]) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let tables = messages.iter().filter_map(|message| {
        Some((
            text(&message["name"])?,
            text(&message["metadata_location"])?,
        ))
    });
    tables.collect()
}

/// Every file of a directory, by its path below it.
fn files_below(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else {
                let below = path.strip_prefix(root).expect("below").to_owned();
                files.insert(below, fs::read(&path).expect("a file"));
            }
        }
    }
    files
}

#[test]
fn tables_of_pyiceberg_come_back_anywhere() {
    let home = Home::plain();
    iceberg(&home, &["make-pyiceberg", &at(&home, "w")]);
    let first = home.json(&["table", "snapshot", "w"]);
    assert_eq!(
        first
            .iter()
            .filter(|told| told["format"] == "iceberg")
            .count(),
        7
    );
    let chosen = first
        .iter()
        .filter(|told| told.to_string().contains("highest version"));
    assert_eq!(chosen.count(), 7, "{first:#?}");
    let manifest = home.json(&["table", "manifest", "latest"]);
    let sources = metadata_of(manifest[0]["tables"].as_array().expect("tables"));
    assert_eq!(sources.len(), 7);
    let before = both(&home, &sources);
    let second = home.json(&["table", "snapshot", "w"]);
    let new = second.iter().filter_map(|told| told["new_files"].as_u64());
    assert_eq!(new.sum::<u64>(), 0);
    let of_tag = home.json(&[
        "table",
        "snapshot",
        "plain_v2=w/db/plain_v2",
        "--table-ref",
        "before",
    ]);

    fs::rename(home.path("w"), home.path("hidden")).expect("moved");
    let last = second.last().expect("a summary")["id"]
        .as_str()
        .expect("an id");
    let moved = home.json(&[
        "table",
        "restore",
        last,
        "--to",
        "some other place/far away",
    ]);
    let moved = metadata_of(&moved);
    assert_eq!(both(&home, &moved), before);
    // Again, and nothing is to be done; another table is not replaced.
    let again = home.json(&[
        "table",
        "restore",
        last,
        "--to",
        "some other place/far away",
    ]);
    let wrote = again
        .iter()
        .filter_map(|told| told["bytes_written"].as_u64());
    assert_eq!(wrote.sum::<u64>(), 0, "{again:#?}");
    home.fails(
        11,
        &[
            "table",
            "restore",
            last,
            "--to",
            "some other place/far away",
            "--keep-uuid",
        ],
    );
    home.ok(&["table", "drill", last]);

    export_twice(&home, last, &before);

    in_place(&home, last, &sources, &before);
    let id = of_tag.last().expect("a summary")["id"].as_str();
    as_at_tag(&home, id.expect("an id"), &before);
}

/// At its own place, every file has the bytes it had.
fn in_place(home: &Home, last: &str, sources: &BTreeMap<String, String>, before: &Read) {
    home.ok(&["table", "restore", last, "--in-place"]);
    let had = files_below(&home.path("hidden"));
    for (path, bytes) in files_below(&home.path("w")) {
        assert!(had.get(&path) == Some(&bytes), "{} differs", path.display());
    }
    assert_eq!(both(home, sources), *before);
}

/// What the tag was at, as the only state.
fn as_at_tag(home: &Home, id: &str, before: &Read) {
    let early = home.json(&["table", "restore", id, "--to", "early"]);
    let early = both(home, &metadata_of(&early));
    assert_eq!(
        early[0]["plain_v2"]["main"]["digest"]
            .as_str()
            .map(str::len),
        Some(64)
    );
    assert_eq!(
        early[0]["plain_v2"]["main"]["rows"],
        before[0]["db.plain_v2"]["before"]["rows"]
    );
    assert_eq!(
        early[1]["plain_v2"].as_object().map(serde_json::Map::len),
        Some(1)
    );
}

/// Exports into a place that is not written twice.
fn export_twice(home: &Home, snapshot: &str, before: &Read) {
    let export = [
        "table",
        "export",
        snapshot,
        "--to",
        "native",
        "--append-only",
    ];
    home.ok(&export);
    let written = files_below(&home.path("native"));
    let again = home.json(&export);
    let added = again.iter().filter_map(|told| told["files_added"].as_u64());
    assert_eq!(added.sum::<u64>(), 0, "{again:#?}");
    assert!(files_below(&home.path("native")) == written);
    let newest = |name: &String| {
        let place = home.path(&format!("native/db/{name}/metadata"));
        let files = fs::read_dir(place)
            .expect("metadata")
            .map(|entry| entry.expect("an entry").path());
        let metadata = files.filter(|path| path.to_string_lossy().contains(".metadata.json"));
        let newest = metadata.max().expect("metadata");
        (
            format!("db.{name}"),
            newest.to_str().expect("UTF-8").to_owned(),
        )
    };
    let names = before[0]
        .keys()
        .map(|name| name.trim_start_matches("db.").to_owned());
    let tables: BTreeMap<_, _> = names.map(|name| newest(&name)).collect();
    assert_eq!(both(home, &tables), *before);
}

#[test]
fn tables_of_spark_with_deletes_come_back_anywhere() {
    let home = Home::plain();
    iceberg(&home, &["make-spark", &at(&home, "w")]);
    home.json(&["table", "snapshot", "w"]);
    let manifest = home.json(&["table", "manifest", "latest"]);
    let mut sources = metadata_of(manifest[0]["tables"].as_array().expect("tables"));
    let orc = sources.remove("db.orc_v2");
    assert!(orc.is_some());
    // Deletes in Avro neither reads.
    let avro = sources.remove("db.avro_v2");
    assert!(avro.is_some());
    let before = both(&home, &sources);
    let by_spark = ["mor_v2", "vectors_v3", "gzip_v2", "avro_v2"];
    let place = at(&home, "w");
    let spark = iceberg(&home, &[&["spark", &place], &by_spark[..]].concat());

    fs::rename(home.path("w"), home.path("hidden")).expect("moved");
    let names = by_spark.map(|name| format!("db.{name}"));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let moved = [
        &["table", "restore", "latest"],
        &names[..],
        &["--to", "other place"],
    ]
    .concat();
    let mut moved = metadata_of(&home.json(&moved));
    moved.remove("db.avro_v2");
    assert_eq!(both(&home, &moved), before);
    let place = at(&home, "other place");
    let there = iceberg(&home, &[&["spark", &place], &by_spark[..]].concat());
    assert_eq!(there, spark);
    home.ok(&[&["table", "drill", "latest"], &names[..]].concat());
    let refused = home.fails(
        1,
        &["table", "restore", "latest", "db.orc_v2", "--to", "orc"],
    );
    assert!(refused.contains("position deletes in orc"), "{refused}");
    home.ok(&["table", "restore", "latest", "db.orc_v2", "--in-place"]);
}

#[test]
fn snapshots_beside_a_writer_that_expires_are_whole() {
    let home = Home::plain();
    let mut writer = home.command(python());
    let writer = writer.args([SCRIPT, "churn", &at(&home, "w"), &at(&home, "stop")]);
    let mut writer = writer
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a writer");
    let mut taken = 0;
    for number in 0..40 {
        pause();
        if !home.path("w/db/t/metadata").exists() {
            continue;
        }
        // Before its first version there is no table.
        let run = home.run(&["--json", "table", "snapshot", "w/db/t"]);
        if run.code != Some(0) {
            assert!(
                taken == 0 && run.stderr.contains("no table"),
                "{}",
                run.stderr
            );
            continue;
        }
        let saved: Value = run
            .stdout
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
            .find(|told| told["format"] == "iceberg")
            .expect("the table");
        if saved["version"] == -1 {
            continue;
        }
        taken += 1;
        let target = format!("copy-{number}");
        let moved = home.json(&["table", "restore", "latest", "--to", &target]);
        home.ok(&["table", "drill", "latest"]);
        let seen = read(&home, "pyiceberg", &metadata_of(&moved));
        if let Some(rows) = saved["rows"].as_u64().filter(|rows| *rows > 0) {
            assert_eq!(seen["t"]["main"]["rows"], rows);
        }
        if taken == 6 {
            break;
        }
    }
    assert!(taken >= 4, "{taken} snapshots");
    assert!(
        writer.try_wait().expect("its state").is_none(),
        "the writer has gone"
    );
    fs::write(home.path("stop"), "").expect("a file");
    let ended = Run::of(&writer.wait_with_output().expect("a run"));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    home.ok(&["check", "--read-data"]);
}

/// What a table of the catalog holds in each of its states.
#[track_caller]
fn in_catalog(home: &Home, name: &str) -> Value {
    let told = iceberg(home, &["catalog-read", name]);
    let mut told: Value = serde_json::from_str(&told).expect("JSON");
    told[name].take()
}

/// Sets properties of the catalog `test` for PyIceberg.
fn set_catalog(home: &mut Home, properties: &[(&str, &str)]) {
    for (name, value) in properties {
        home.set(&format!("PYICEBERG_CATALOG__TEST__{name}"), *value);
    }
}

/// Has PyIceberg make these tables in a catalog in SQLite; gives its file and the URL of its warehouse.
fn sql_catalog(home: &mut Home, tables: &[&str]) -> (String, String) {
    let file = at(home, "catalog.db");
    let warehouse = format!("file://{}", at(home, "w"));
    let uri = format!("sqlite:///{file}");
    set_catalog(
        home,
        &[("TYPE", "sql"), ("URI", &uri), ("WAREHOUSE", &warehouse)],
    );
    for name in tables {
        iceberg(home, &["catalog-make", name]);
    }
    (file, warehouse)
}

#[test]
fn tables_of_an_sql_catalog_come_back_in_it() {
    let mut home = Home::plain();
    let (file, _) = sql_catalog(&mut home, &["db.plain", "other.plain"]);
    let before = in_catalog(&home, "db.plain");
    let saved = home.json(&["table", "snapshot", &format!("sqlite:{file}#db")]);
    assert_eq!(saved[0]["name"], "db.plain", "{saved:#?}");
    assert_eq!(saved[1]["message_type"], "snapshot_summary", "{saved:#?}");

    fs::rename(home.path("w/db"), home.path("hidden")).expect("moved");
    let register = format!("sqlite:{file}#copies");
    let restore = [
        "table",
        "restore",
        "latest",
        "--to",
        "copy",
        "--register",
        &register,
    ];
    let told = home.json(&restore);
    assert_eq!(told[1]["message_type"], "table_registered", "{told:#?}");
    assert_eq!(
        (&told[1]["name"], &told[1]["version"]),
        (&"copies.plain".into(), &saved[0]["version"])
    );
    assert_eq!(in_catalog(&home, "copies.plain"), before);
    // The same again is nothing new; a table that was written to since stays, unless forced.
    home.ok(&restore);
    iceberg(&home, &["catalog-append", "copies.plain"]);
    assert_ne!(in_catalog(&home, "copies.plain"), before);
    home.fails(11, &restore);
    home.ok(&[&restore[..], &["--force"]].concat());
    assert_eq!(in_catalog(&home, "copies.plain"), before);

    let one = home.json(&["table", "snapshot", &format!("sqlite:{file}#other.plain")]);
    assert_eq!(one[0]["name"], "other.plain");
    home.fails(1, &["table", "snapshot", &format!("sqlite:{file}#none")]);
    let script = home.ok(&[
        "table",
        "restore",
        "latest",
        "--to",
        "glued",
        "--register",
        "glue",
    ]);
    assert!(
        script.contains("aws glue create-table --database-name 'other'"),
        "{script}"
    );
}

#[test]
fn tables_of_a_rest_catalog_come_back_in_it() {
    let server = Seaweed::start_with_catalog().expect("a server");
    let mut home = Home::plain();
    let options = server.options();
    let option = |name: &str| {
        let found = options.iter().find(|(key, _)| key == name);
        found.expect("an option").1.clone()
    };
    for (name, value) in &options {
        home.set(&name.to_ascii_uppercase(), value);
    }
    let (id, secret) = (option("aws_access_key_id"), option("aws_secret_access_key"));
    let credential = format!("{id}:{secret}");
    home.set("REPO_CATALOG_CREDENTIAL", &credential);
    let (url, endpoint) = (server.catalog(), server.endpoint());
    set_catalog(
        &mut home,
        &[
            ("TYPE", "rest"),
            ("URI", &url),
            ("WAREHOUSE", "s3://lake"),
            ("CREDENTIAL", &credential),
            ("S3__ENDPOINT", &endpoint),
            ("S3__ACCESS_KEY_ID", &id),
            ("S3__SECRET_ACCESS_KEY", &secret),
            ("S3__REGION", "us-east-1"),
        ],
    );
    iceberg(&home, &["catalog-make", "db.plain"]);
    let before = in_catalog(&home, "db.plain");
    let catalog = format!("rest:{url}");
    let warehouse = ["--catalog-option", "warehouse=s3://lake"];
    let saved = home.json(&[&["table", "snapshot", &catalog], &warehouse[..]].concat());
    assert_eq!(saved[0]["name"], "db.plain", "{saved:#?}");
    let again = home.json(
        &[
            &["table", "snapshot", &format!("{catalog}#db.plain")],
            &warehouse[..],
        ]
        .concat(),
    );
    assert_eq!(again[0]["name"], "db.plain", "{again:#?}");

    // Into the place and the catalog of another warehouse, with the first one gone.
    // To a bucket, and from there to a disk, with the table dropped.
    iceberg(&home, &["catalog-drop", "db.plain"]);
    let bucket = server.location("restored");
    home.ok(&["table", "restore", "latest", "--to", &bucket]);
    home.json(&["table", "snapshot", &bucket]);
    let moved = home.json(&["table", "restore", "latest", "--to", "disk"]);
    assert_eq!(
        read(&home, "pyiceberg", &metadata_of(&moved))["db.plain"],
        before
    );
    // This server registers only metadata that it wrote itself, and shows an empty table for any other. It
    // is read back as its readers read it, so that is told.
    let other = ["--catalog-option", "warehouse=s3://other-lake"];
    let moved = [
        "table",
        "restore",
        "latest",
        "--to",
        "s3://other-lake",
        "--register",
        &catalog,
    ];
    let emptied = home
        .run(&[&moved[..], &other[..]].concat())
        .expect(1)
        .stderr;
    assert!(
        emptied.contains("the catalog's table has snapshot -1"),
        "{emptied}"
    );
    // With another secret nothing is told.
    home.set("REPO_CATALOG_CREDENTIAL", "nobody:geheim");
    let refused = home.run(&[&["table", "snapshot", &catalog], &warehouse[..]].concat());
    assert_ne!(refused.code, Some(0));
    assert!(!refused.stderr.contains("geheim"), "{}", refused.stderr);
}

#[test]
fn a_rest_catalog_gets_a_moved_table() {
    let mut home = Home::plain();
    let (file, warehouse) = sql_catalog(&mut home, &["db.plain", "more.plain"]);
    let before = in_catalog(&home, "db.plain");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tables/rest.py");
    let mut server = home.command(python());
    let server = server.args([script, &file, &warehouse, "me:geheim"]);
    let mut server = server
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a server");
    let mut url = String::new();
    let mut said = BufReader::new(server.stdout.take().expect("its output"));
    said.read_line(&mut url).expect("a URL");
    let catalog = format!("rest:{}", url.trim());
    home.set("REPO_CATALOG_CREDENTIAL", "me:geheim");

    let saved = home.json(&["table", "snapshot", &catalog]);
    let names: Vec<_> = saved
        .iter()
        .filter_map(|told| told["name"].as_str())
        .collect();
    assert_eq!(names, ["db.plain", "more.plain"]);
    fs::rename(home.path("w/db"), home.path("hidden")).expect("moved");
    let register = format!("{catalog}#copies.of.it");
    let restore = [
        "table",
        "restore",
        "latest",
        "db.plain",
        "--to",
        "copy",
        "--register",
        &register,
    ];
    let told = home.json(&restore);
    assert_eq!(told[1]["name"], "copies.of.it.plain", "{told:#?}");
    home.ok(&restore);
    // The name of a table that is another one is left to it, and one whose files are lost, unless forced.
    for name in ["more", "db"] {
        let taken = format!("{catalog}#{name}");
        let taken = [
            "table",
            "restore",
            "latest",
            "db.plain",
            "--to",
            "copy",
            "--register",
            &taken,
        ];
        let refused = home.run(&taken);
        assert!(matches!(refused.code, Some(1 | 11)), "{refused:?}");
        home.ok(&[&taken[..], &["--force"]].concat());
    }
    for name in ["copies.of.it.plain", "db.plain", "more.plain"] {
        assert_eq!(in_catalog(&home, name), before, "{name}");
    }
    let again = home.json(&["table", "snapshot", &register]);
    assert_eq!(again[0]["name"], "copies.of.it.plain");
    home.set("REPO_CATALOG_CREDENTIAL", "me:falsch");
    let refused = home.fails(1, &["table", "snapshot", &catalog]);
    assert!(
        refused.contains("401") && !refused.contains("falsch"),
        "{refused}"
    );
    drop(server.stdin.take());
    server.wait().expect("its end");
}

/// The tables of a catalog as they were before views, which every version reads.
const LAYOUT: &str = "create table iceberg_tables (catalog_name varchar not null, \
    table_namespace varchar not null, table_name varchar not null, metadata_location varchar, \
    previous_metadata_location varchar, primary key (catalog_name, table_namespace, table_name)); \
    create table iceberg_namespace_properties (catalog_name varchar not null, namespace varchar not null, \
    property_key varchar not null, property_value varchar, \
    primary key (catalog_name, namespace, property_key))";

#[test]
fn a_catalog_in_postgres_is_read_and_written() {
    let place = Place::new(&Programs::installed());
    let data = place.init("data", false);
    let server = place.start(&data);
    server.sql(LAYOUT);
    let socket = server.options()[1].replace('/', "%2F");
    let catalog = format!("postgres://postgres@{socket}/postgres");

    let home = Home::plain();
    let root = at(&home, "w/db/e");
    let empty = serde_json::json!({"format-version": 2, "location": root, "last-updated-ms": 1,
        "table-uuid": "2c7cbd08-0000-4000-8000-000000000000"});
    home.write("w/db/e/metadata/v1.metadata.json", empty.to_string());
    home.json(&["table", "snapshot", "w"]);
    let register = format!("{catalog}#copies");
    let restore = [
        "table",
        "restore",
        "latest",
        "--to",
        "copy",
        "--register",
        &register,
    ];
    let unnamed = home.fails(1, &restore);
    assert!(unnamed.contains("option name"), "{unnamed}");
    let named = [&restore[..], &["--catalog-option", "name=c"]].concat();
    let told = home.json(&named);
    assert_eq!(told[1]["name"], "copies.e", "{told:#?}");
    let row = server.sql("select catalog_name, table_namespace, table_name from iceberg_tables");
    assert_eq!(row, "c|copies|e");
    let saved = home.json(&["table", "snapshot", &register]);
    assert_eq!(saved[0]["name"], "copies.e");
    assert_eq!(saved[0]["location"], at(&home, "copy/db/e"));
}
