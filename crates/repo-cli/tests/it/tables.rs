//! `repo table` on tables made by hand.

use serde_json::Value;

use crate::driver::{Home, of_type};

const FIRST: &str = r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}
{"metaData":{"id":"m","format":{"provider":"parquet","options":{}},"schemaString":"{\"type\":\"struct\",\"fields\":[{\"name\":\"id\",\"type\":\"long\",\"nullable\":true,\"metadata\":{}}]}","partitionColumns":[],"configuration":{}}}
{"add":{"path":"a.bin","partitionValues":{},"size":5,"modificationTime":1,"dataChange":true,"stats":"{\"numRecords\":2}"}}
"#;
const SECOND: &str = r#"{"add":{"path":"b.bin","partitionValues":{},"size":3,"modificationTime":1,"dataChange":true,"stats":"{\"numRecords\":1}"}}
{"remove":{"path":"a.bin","deletionTimestamp":2,"dataChange":true}}
"#;

/// An Iceberg table without a snapshot.
const EMPTY: &str = r#"{"format-version":2,"table-uuid":"2c7cbd08-0000-4000-8000-000000000000","location":"LOCATION",
    "last-updated-ms":1,"current-schema-id":0,"schemas":[{"schema-id":0,"type":"struct","fields":[]}]}"#;

fn first(home: &Home) {
    home.write("w/db/t/a.bin", "first");
    home.write("w/db/t/_delta_log/00000000000000000000.json", FIRST);
}

fn second(home: &Home) {
    home.write("w/db/t/b.bin", "new");
    home.write("w/db/t/_delta_log/00000000000000000001.json", SECOND);
}

/// Runs each command of the group, and gives what it said as JSON.
pub(crate) fn every_message(home: &Home) -> Vec<Vec<Value>> {
    let table = home.path("ice/db/e").display().to_string();
    let text = EMPTY.replace("LOCATION", &table);
    home.write("ice/db/e/metadata/v1.metadata.json", &text);
    let empty = vec![
        home.json(["table", "snapshot", "ice"]),
        home.json([
            "table",
            "restore",
            "latest",
            "--to",
            "ice2",
            "--register",
            "hive",
        ]),
    ];
    first(home);
    let saved = home.json(["table", "snapshot", "w"]);
    let summary = of_type(&saved, "snapshot_summary")[0]["id"].clone();
    let before = summary.as_str().expect("an id").to_owned();
    second(home);
    let messages = vec![
        saved,
        home.json(["table", "snapshot", "w"]),
        home.json(["table", "manifest", "latest", "--sha256"]),
        home.json(["table", "diff", &before, "latest"]),
        home.json(["table", "restore", "latest", "db.t", "--to", "elsewhere"]),
        home.json(["table", "drill", "latest", "--scratch", "scratch"]),
        home.json(["table", "export", "latest", "--to", "worm", "--append-only"]),
        home.json(["table", "export", "latest", "--archive", "archive"]),
    ];
    [messages, empty].concat()
}

#[test]
fn a_table_is_saved_restored_and_compared() {
    let home = Home::plain();
    let none = home.fails(1, ["table", "manifest"]);
    assert!(none.contains("no snapshot of tables"), "{none}");
    let none = home.fails(1, ["table", "snapshot", "nowhere"]);
    assert!(none.contains("no table at"), "{none}");
    let messages = every_message(&home).concat();
    let manifest = &of_type(&messages, "table_manifest")[0];
    assert_eq!(manifest["type"], "incremental");
    let table = &manifest["tables"][0];
    assert_eq!(
        (&table["name"], &table["version"], &table["rows"]),
        (&"db.t".into(), &1.into(), &1.into())
    );
    assert_eq!(table["deleted_files"][0], "table/a.bin");
    // SHA-256 of "new".
    let files = table["file_list"].as_array().expect("a list");
    let file = files
        .iter()
        .find(|file| file["path"] == "table/b.bin")
        .expect("a file");
    assert_eq!(
        file["sha256"],
        "11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437"
    );
    let diff = &of_type(&messages, "table_diff")[0];
    assert_eq!(
        (&diff["added"][0], &diff["removed"][0]),
        (&"table/b.bin".into(), &"table/a.bin".into())
    );
    assert!(!home.path("scratch").exists(), "a drill leaves nothing");
    for place in ["elsewhere/db/t", "worm/db/t"] {
        let log = std::fs::read_to_string(
            home.path(place)
                .join("_delta_log/00000000000000000001.json"),
        );
        assert_eq!(log.expect("a commit"), SECOND);
        let older = std::fs::read_to_string(home.path(place).join("a.bin"));
        assert_eq!(older.expect("a file of version 0"), "first");
    }

    home.ok(["table", "snapshot", "w", "--version-only"]);
    home.ok(["table", "restore", "latest", "--to", "only"]);
    assert!(!home.path("only/db/t/a.bin").exists(), "it is not live");
    assert!(home.path("only/db/t/b.bin").exists());

    // Version 0 again, over version 1.
    home.ok(["table", "snapshot", "w", "--table-version", "0"]);
    let refused = home.fails(11, ["table", "restore", "latest", "--in-place"]);
    assert!(
        refused.contains("is a newer version of the table; hint: --force"),
        "{refused}"
    );
    home.ok(["table", "restore", "latest", "--in-place", "--force"]);
    assert!(
        !home
            .path("w/db/t/_delta_log/00000000000000000001.json")
            .exists()
    );
    assert!(home.path("w/db/t/b.bin").exists(), "data is left to vacuum");

    // A file that is gone is named, and nothing is saved.
    std::fs::remove_file(home.path("w/db/t/a.bin")).expect("removed");
    let gone = home.fails(1, ["table", "snapshot", "w"]);
    assert!(gone.contains("a.bin, which is not there"), "{gone}");
    let unknown = home.fails(1, ["table", "restore", "latest", "nothing", "--to", "x"]);
    assert!(unknown.contains("holds no table \"nothing\""), "{unknown}");
}

#[test]
fn a_comparison_of_files_says_how_tables_differ() {
    let home = Home::plain();
    let mut ids: Vec<String> = Vec::new();
    let mut save = || {
        let saved = home.json(["table", "snapshot", "w"]);
        let id = of_type(&saved, "snapshot_summary")[0]["id"].clone();
        ids.push(id.as_str().expect("an id").to_owned());
    };
    first(&home);
    save();
    second(&home);
    save();
    home.write("w/db/same/c.bin", "same");
    let commit = FIRST
        .replace("a.bin", "c.bin")
        .replace("\"size\":5", "\"size\":4");
    home.write("w/db/same/_delta_log/00000000000000000000.json", commit);
    save();

    let text = home.ok(["diff", &ids[0], &ids[1]]);
    assert!(text.contains("+ tables/db.t/table/b.bin\n"), "{text}");
    let line = "M db.t: version 0 to 1, rows 2 to 1, 1 file added, 1 removed, 0 rewritten\n";
    assert!(text.contains(line), "{text}");
    let text = home.ok(["diff", &ids[1], &ids[2]]);
    let line = "+ db.same: version - to 0, rows - to 2, 1 file added, 0 removed, 0 rewritten\n";
    assert!(text.contains(line), "{text}");
    assert!(!text.contains("db.t:"), "it stayed as it was: {text}");
    let messages = home.json(["diff", &ids[0], &ids[1]]);
    let alone = home.json(["table", "diff", &ids[0], &ids[1]]);
    assert_eq!(
        of_type(&messages, "table_diff"),
        of_type(&alone, "table_diff")
    );
    let same = home.ok(["diff", &ids[1], &ids[1]]);
    assert!(!same.contains("version"), "{same}");
}
