//! Iceberg tables made by PyIceberg and Spark, saved and restored by the real binary, and read again by
//! PyIceberg, DuckDB and Spark with the source out of the way: at every snapshot, branch and tag.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use repo_tests::program::{Home, Run};
use repo_tests::server::pause;
use serde_json::Value;

fn python() -> PathBuf {
    let tools = match std::env::var_os("REPO_TEST_TOOLS") {
        Some(tools) => PathBuf::from(tools),
        None => PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.tools")),
    };
    let python = tools.join("venv-iceberg/bin/python");
    assert!(python.is_file(), "run tests/tools/install.sh");
    python
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

    // At its own place, every file has the bytes it had.
    home.ok(&["table", "restore", last, "--in-place"]);
    let had = files_below(&home.path("hidden"));
    for (path, bytes) in files_below(&home.path("w")) {
        assert!(had.get(&path) == Some(&bytes), "{} differs", path.display());
    }
    assert_eq!(both(&home, &sources), before);

    // What the tag was at, as the only state.
    let id = of_tag.last().expect("a summary")["id"]
        .as_str()
        .expect("an id");
    let early = home.json(&["table", "restore", id, "--to", "early"]);
    let early = both(&home, &metadata_of(&early));
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
        7,
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
