//! The JSON output is what `JSON.md` says.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::driver::{Home, objects, of_type};

/// A field of a message.
#[derive(Debug, PartialEq, Eq)]
struct Field {
    kind: String,
    optional: bool,
}

/// Fields of messages, by their type.
fn documented() -> BTreeMap<String, BTreeMap<String, Field>> {
    let mut messages = BTreeMap::new();
    let mut current = String::new();
    for line in include_str!("../../JSON.md").lines() {
        if let Some(name) = line.strip_prefix("## ") {
            current = name.trim_matches('`').to_owned();
            messages.insert(current.clone(), BTreeMap::new());
        } else if let Some(row) = line.strip_prefix("| `") {
            let mut cells = row.split(" | ");
            let name = cells.next().expect("a name").trim_end_matches('`');
            let kind = cells.next().expect("a type");
            let field = Field {
                kind: kind.trim_start_matches("optional ").to_owned(),
                optional: kind.starts_with("optional "),
            };
            let fields = messages.get_mut(&current).expect("a heading before");
            fields.insert(name.to_owned(), field);
        }
    }
    messages
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

/// Every field is documented, and every documented one is there.
#[track_caller]
pub(crate) fn assert_documented(message: &Value) {
    let messages = documented();
    let name = message["message_type"].as_str().expect("a type");
    assert!(messages.contains_key(name), "{name} is not documented");
    let fields = &messages[name];
    for (field, value) in message.as_object().expect("an object") {
        if field == "message_type" {
            continue;
        }
        assert!(
            fields.contains_key(field),
            "{name} has {field} undocumented"
        );
        assert_eq!(kind(value), fields[field].kind, "{field} of {name}");
    }
    for (field, known) in fields {
        assert!(
            known.optional || message.get(field).is_some(),
            "{name} has no {field}"
        );
    }
}

#[test]
fn the_document_is_read() {
    let messages = documented();
    let string = Field {
        kind: "string".to_owned(),
        optional: true,
    };
    assert_eq!(messages["error"]["hint"], string);
    assert!(messages.len() > 10 && messages.values().all(|fields| !fields.is_empty()));
}

#[test]
fn every_message_is_documented_and_seen() {
    let mut home = Home::new();
    home.write("data/a", "a");
    home.write("data/b", "b");
    std::os::unix::fs::symlink("a", home.path("data/link")).expect("a link");
    std::os::unix::net::UnixListener::bind(home.path("data/socket")).expect("a socket");

    let mut seen = BTreeSet::new();
    let mut note = |messages: Vec<Value>| {
        let types = messages.iter().filter_map(|m| m["message_type"].as_str());
        seen.extend(types.map(str::to_owned));
    };
    // The default repository is made on first use, and the result follows.
    note(home.json(["snapshot", "data"]));
    home.write("data/b", "changed");
    note(home.json(["snapshot", "data", "--tag", "t", "--description", "d"]));
    let snapshots = home.json(["snapshots"]);
    let ids: Vec<String> = snapshots
        .iter()
        .map(|snapshot| snapshot["id"].as_str().expect("an id").to_owned())
        .collect();
    note(snapshots);
    note(home.json(["ls", "latest"]));
    note(home.json(["find"]));
    note(home.json(["diff", &ids[0], &ids[1]]));
    note(home.json(["restore", "latest", "target", "--dry-run"]));
    note(home.json(["restore", "latest", "target"]));
    note(home.json(["check", "--read-data"]));
    home.ok(["-r", "copies", "init", "--no-encryption"]);
    note(home.json(["copy", "--to", "copies"]));
    note(home.json(["repair", "index"]));
    note(home.json(["parity"]));
    note(home.json(["check", "--locks"]));
    note(home.json(["tag", "--add", "x", "latest"]));
    note(home.json(["forget", "--keep-last", "1"]));
    note(home.json(["undo", "4"]));
    note(home.json(["gc"]));
    note(home.json(["log"]));
    note(home.json(["key", "list"]));
    let tables = crate::tables::every_message(&home).into_iter();
    for messages in tables.chain(crate::tables::iceberg_messages(&home)) {
        note(messages);
    }
    note(home.json(["stats", "--detail"]));
    home.set("REPO_NEW_PASSWORD", "another");
    note(home.json(["key", "add"]));
    home.unset("REPO_NEW_PASSWORD");
    note(home.json(["key", "rotate", "--drop-others"]));
    note(home.json(["gc", "--reseal"]));
    note(home.json(["gc", "--reader-grace", "0", "--writer-grace", "0"]));
    note(home.json(["key", "retire"]));
    let failed = home.run(["--json", "ls", "nothing"]).expect(1);
    assert_eq!(failed.stdout, "");
    note(objects(&failed.stderr));

    // A warning needs a store that overwrites, which no test here has.
    seen.insert("warning".to_owned());
    // These need a server, and are seen by the end-to-end tests.
    seen.extend(["pg_open", "pg_relation", "pg_snapshot", "pg_wal"].map(str::to_owned));
    // This one lasts until it is ended; a test of mounts reads it.
    seen.insert("mounted".to_owned());
    // This one needs a server; a test with one reads it.
    seen.insert("pg_check".to_owned());
    let expected: BTreeSet<String> = documented().into_keys().collect();
    assert_eq!(seen, expected);
}

#[test]
fn errors_are_objects_with_the_exit_code() {
    let home = Home::plain();
    for (code, arguments) in [
        (1, &["ls", "--json", "0123456789"][..]),
        (2, &["snapshot", "--json"]),
        (2, &["--json", "frobnicate"]),
        (10, &["--json", "-r", "nowhere", "snapshots"]),
    ] {
        let run = home.run(arguments).expect(code);
        let messages = objects(&run.stderr);
        let errors = of_type(&messages, "error");
        assert_eq!(errors.len(), 1, "{}", run.stderr);
        assert_eq!(errors[0]["code"], code);
    }
}

#[test]
fn names_that_are_not_text_are_given_exactly() {
    use std::os::unix::ffi::OsStrExt as _;

    let home = Home::plain();
    home.write("data/plain", "");
    let odd = home
        .path("data")
        .join(std::ffi::OsStr::from_bytes(b"odd\xff\n"));
    std::fs::write(odd, "").expect("a file");
    home.snapshot(["data"]);

    let entries = home.json(["ls", "latest"]);
    assert_eq!(entries[0]["path"], "odd\u{fffd}\n");
    assert_eq!(entries[0]["path_hex"], "6f6464ff0a");
    assert_eq!(entries[1]["path"], "plain");
    assert_eq!(entries[1].get("path_hex"), None);
    assert_eq!(home.ok(["ls", "latest"]), "odd\\xff\\n\nplain\n");
}
