//! Delta tables made by their own writer, saved and restored by the real binary, and read again by
//! readers that nobody here wrote.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use repo_testkit::{Seaweed, tool};
use repo_tests::program::{Home, Run};
use repo_tests::server::pause;
use serde_json::Value;

fn python() -> PathBuf {
    tool("venv-delta/bin/python")
}

/// Runs the script beside this test; gives what it said.
#[track_caller]
fn delta(home: &Home, arguments: &[&str]) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tables/delta.py");
    let mut command = home.command(python());
    let run = Run::of(&command.arg(script).args(arguments).output().expect("a run"));
    run.expect(0).stdout
}

#[track_caller]
fn read(home: &Home, reader: &str, place: &str) -> Value {
    serde_json::from_str(&delta(home, &[reader, place])).expect("JSON")
}

/// What one reader sees must be what it saw, and the other must see the same rows.
#[track_caller]
fn assert_read(home: &Home, place: &str, expected: &Value) {
    assert_eq!(read(home, "read", place), *expected, "{place}");
    let duck = read(home, "duck", place);
    for field in ["rows", "sum", "partitions"] {
        assert_eq!(duck[field], expected[field], "{field} of {place}");
    }
}

#[test]
fn delta_tables_come_back_for_their_own_reader() {
    let home = Home::plain();
    fs::create_dir_all(home.path("w/sales")).expect("a directory");
    delta(&home, &["make", "w/sales/orders"]);
    let expected = read(&home, "read", "w/sales/orders");
    assert_eq!(expected["rows"], 11_350);
    let versions = read(&home, "versions", "w/sales/orders");
    assert_eq!(versions.as_array().map(Vec::len), Some(15));
    let saved = home.json(&["table", "snapshot", "w"]);
    assert_eq!(saved[0]["name"], "sales.orders");
    assert_eq!(
        (&saved[0]["version"], &saved[0]["rows"]),
        (&expected["version"], &expected["rows"])
    );
    let first = saved.last().expect("a summary")["id"]
        .as_str()
        .expect("an id")
        .to_owned();

    delta(&home, &["append", "w/sales/orders"]);
    let later = read(&home, "read", "w/sales/orders");
    home.ok(&["table", "snapshot", "w"]);
    // A version with neither checkpoint nor compaction behind it.
    home.ok(&[
        "table",
        "snapshot",
        "early=w/sales/orders",
        "--table-version",
        "3",
    ]);

    fs::rename(home.path("w"), home.path("moved")).expect("moved");
    home.ok(&["table", "restore", &first, "--to", "one"]);
    assert_read(&home, "one/sales/orders", &expected);
    assert_eq!(read(&home, "versions", "one/sales/orders"), versions);
    home.ok(&[
        "table",
        "restore",
        "latest",
        "--path",
        &home.path("w").to_string_lossy(),
        "--to",
        "two",
    ]);
    assert_read(&home, "two/sales/orders", &later);
    home.ok(&["table", "restore", "latest", "--to", "three"]);
    let early = read(&home, "read", "three/early");
    assert_eq!(
        (&early["version"], &early["rows"]),
        (&3.into(), &4000.into())
    );
    home.ok(&["table", "drill", &first]);

    // At its own place, and over a newer version. It is written to as before.
    home.ok(&["table", "restore", &first, "--in-place"]);
    assert_read(&home, "w/sales/orders", &expected);
    delta(&home, &["append", "w/sales/orders"]);
    assert_read(&home, "w/sales/orders", &later);
    home.fails(11, &["table", "restore", &first, "--in-place"]);
    home.ok(&["table", "restore", &first, "--in-place", "--force"]);
    assert_read(&home, "w/sales/orders", &expected);
    // A directory of the snapshot is the table.
    home.ok(&[
        "restore",
        &format!("{first}:tables/sales.orders/table"),
        "plain",
    ]);
    assert_read(&home, "plain", &expected);
}

#[test]
fn tables_that_others_write_by_hand_come_back() {
    let home = Home::plain();
    delta(&home, &["multipart", "w/multipart"]);
    delta(&home, &["features", "w/features"]);
    let multipart = read(&home, "read", "w/multipart");
    let features = read(&home, "duck", "w/features");
    assert_eq!(
        (&multipart["rows"], &features["rows"]),
        (&2100.into(), &197.into())
    );
    let saved = home.json(&["table", "snapshot", "w"]);
    assert_eq!(saved[0]["rows"], features["rows"]);
    let whole = &home.json(&["table", "manifest", "--sha256"])[0];
    assert_eq!(whole["totals"]["rows"], 2297);
    fs::rename(home.path("w"), home.path("moved")).expect("moved");
    home.ok(&["table", "restore", "latest", "--to", "copy"]);
    assert_read(&home, "copy/multipart", &multipart);
    assert_eq!(read(&home, "duck", "copy/features"), features);
    home.ok(&["table", "drill"]);

    // All in one file, whose directory is found from its end.
    home.ok(&["table", "export", "--archive", "tables"]);
    let archive = fs::read(home.path("tables")).expect("a file");
    let trailer = &archive[archive.len() - 56..];
    let number = |at: usize| {
        let number = u64::from_le_bytes(trailer[at..at + 8].try_into().expect("eight bytes"));
        usize::try_from(number).expect("a length")
    };
    let directory = &archive[number(32)..number(32) + number(40)];
    let directory: Value = serde_json::from_slice(directory).expect("JSON");
    assert_eq!(directory["tables"][0]["name"], "features");
    home.fails(11, &["table", "export", "--archive", "tables"]);
}

#[test]
fn a_drill_fails_when_the_repository_is_harmed() {
    let home = Home::plain();
    delta(&home, &["append", "t"]);
    home.ok(&["table", "snapshot", "t"]);
    home.ok(&["table", "drill"]);
    let packs = home.path("repository/packs");
    let mut harmed = 0;
    for directory in fs::read_dir(&packs).expect("packs") {
        for pack in fs::read_dir(directory.expect("a directory").path()).expect("packs") {
            let path = pack.expect("a pack").path();
            let mut bytes = fs::read(&path).expect("a pack");
            let middle = bytes.len() / 3;
            bytes[middle] ^= 0x55;
            fs::write(&path, bytes).expect("written");
            harmed += 1;
        }
    }
    assert!(harmed > 0);
    let run = home.run(&["table", "drill"]);
    assert!(!matches!(run.code, Some(0) | None), "{}", run.stdout);
}

#[test]
fn snapshots_beside_a_writer_that_vacuums_are_whole() {
    let home = Home::plain();
    delta(&home, &["make", "t"]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tables/delta.py");
    let mut writer = home.command(python());
    let writer = writer.arg(script).args(["churn", "t", "stop"]);
    let mut writer = writer
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a writer");
    for number in 0..6 {
        pause();
        let saved = home.json(&["table", "snapshot", "t"]);
        let table = &saved[0];
        let target = format!("copy-{number}");
        home.ok(&["table", "restore", "latest", "--to", &target]);
        let seen = read(&home, "read", &format!("{target}/t"));
        assert_eq!(
            (&seen["version"], &seen["rows"]),
            (&table["version"], &table["rows"])
        );
    }
    assert!(
        writer.try_wait().expect("its state").is_none(),
        "the writer has gone"
    );
    fs::write(home.path("stop"), "").expect("a file");
    let written = Run::of(&writer.wait_with_output().expect("a run"));
    drop(written.expect(0));
    home.ok(&["check", "--read-data"]);
}

#[test]
fn from_a_server_to_a_disk_and_back() {
    let server = Seaweed::shared();
    let mut home = Home::plain();
    for (name, value) in server.options() {
        home.set(&name.to_ascii_uppercase(), value);
    }
    let place = server.location("lake/orders");
    delta(&home, &["make", &place]);
    let expected = read(&home, "read", &place);
    home.ok(&["table", "snapshot", &server.location("lake")]);
    home.ok(&["table", "restore", "latest", "--to", "disk"]);
    assert_read(&home, "disk/orders", &expected);
    home.ok(&[
        "table",
        "restore",
        "latest",
        "--to",
        &server.location("copy"),
    ]);
    assert_eq!(
        read(&home, "read", &server.location("copy/orders")),
        expected
    );
    let again = home.json(&[
        "table",
        "restore",
        "latest",
        "--to",
        &server.location("copy"),
    ]);
    assert_eq!(again[0]["bytes_written"], 0);
    let second = home.json(&["table", "snapshot", &server.location("lake")]);
    assert_eq!(second[0]["new_files"], 0);
    home.ok(&[
        "table",
        "export",
        "--to",
        &server.location("worm"),
        "--append-only",
    ]);
    assert_eq!(
        read(&home, "read", &server.location("worm/orders")),
        expected
    );
}
