use std::collections::HashMap;

use bytes::Bytes;

use super::super::AccessError;
use super::*;

/// Metadata files by location.
#[derive(Default)]
struct Files(HashMap<String, Bytes>);

impl Fetch for Files {
    fn fetch(&self, location: &str, _: u64) -> Result<Bytes, AccessError> {
        self.0.get(location).cloned().ok_or(AccessError::NotFound)
    }
}

/// A version that changed at a time and remembers others.
fn version(at: i64, log: &[&str]) -> Bytes {
    let log: Vec<_> = log
        .iter()
        .map(|old| serde_json::json!({"metadata-file": format!("/t/metadata/{old}"), "timestamp-ms": 0}))
        .collect();
    let text = serde_json::json!({"format-version": 2, "last-updated-ms": at, "metadata-log": log});
    text.to_string().into()
}

/// Files with the time they were written, and the content of those that may be read.
#[track_caller]
fn chosen(names: &[(&str, i64)], hint: Option<&str>, contents: &[(&str, Bytes)]) -> (String, Why) {
    let files: Vec<Candidate> = names
        .iter()
        .map(|(name, modified)| Candidate {
            location: format!("/t/metadata/{name}"),
            modified_ms: Some(*modified),
        })
        .collect();
    let contents = contents
        .iter()
        .map(|(name, content)| (format!("/t/metadata/{name}"), content.clone()));
    let source = Files(contents.collect());
    let choice = choose("/t/metadata", &files, hint.map(str::as_bytes), &source);
    let choice = choice.expect("a choice");
    assert!(choice.to_string().starts_with(&choice.location));
    let name = choice.location.trim_start_matches("/t/metadata/");
    (name.to_owned(), choice.why)
}

#[test]
fn versions_are_in_names() {
    for (name, version) in [
        ("v3.metadata.json", Some(3)),
        ("v3.gz.metadata.json", Some(3)),
        ("v3.metadata.json.gz", Some(3)),
        ("s3://b/t/metadata/00012-1b2c.metadata.json", Some(12)),
        ("00012-1b2c.gz.metadata.json", Some(12)),
        ("7.metadata.json", Some(7)),
        ("vx.metadata.json", None),
        ("snap-1.avro", None),
        ("-1.metadata.json", None),
        (".metadata.json", None),
        ("v3.metadata.json.tmp", None),
        ("v99999999999999999999.metadata.json", None),
    ] {
        assert_eq!(version_of(name), version, "{name}");
    }
}

#[test]
fn the_hint_leads_to_the_last_version_without_a_gap() {
    let names = [
        ("v1.metadata.json", 1),
        ("v2.gz.metadata.json", 2),
        ("v3.metadata.json", 3),
        ("v5.metadata.json", 5),
    ];
    let (name, why) = chosen(&names, Some("3\n"), &[]);
    assert_eq!((name.as_str(), why), ("v3.metadata.json", Why::Hint));
    let (name, why) = chosen(&names, Some("1"), &[]);
    assert_eq!(
        (name.as_str(), why),
        ("v3.metadata.json", Why::AfterHint { hint: 1 })
    );
    // A hint at nothing is none.
    let (name, why) = chosen(&names, Some("9"), &[]);
    assert_eq!(
        (name.as_str(), why),
        ("v5.metadata.json", Why::Highest { of: 4 })
    );
    let named = [("00001-a.metadata.json", 1), ("00002-b.metadata.json", 2)];
    let (name, why) = chosen(&named, Some("00001-a"), &[]);
    assert_eq!((name.as_str(), why), ("00001-a.metadata.json", Why::Hint));
}

#[test]
fn the_highest_version_is_current_and_is_not_read() {
    let names = [
        ("00009-a.metadata.json", 1),
        ("00010-b.gz.metadata.json", 2),
        ("snap-11.avro", 3),
    ];
    let (name, why) = chosen(&names, None, &[]);
    assert_eq!(name, "00010-b.gz.metadata.json");
    assert_eq!(why, Why::Highest { of: 2 });
}

#[test]
fn of_two_of_one_version_the_later_is_current() {
    // One lost the race for version 2 and was never committed.
    let names = [
        ("00001-a.metadata.json", 1),
        ("00002-lost.metadata.json", 2),
        ("00002-won.metadata.json", 3),
    ];
    let contents = [
        ("00002-lost.metadata.json", version(20, &[])),
        ("00002-won.metadata.json", version(30, &[])),
    ];
    let (name, why) = chosen(&names, None, &contents);
    assert_eq!(name, "00002-won.metadata.json");
    assert_eq!(why, Why::NewestInLog { of: 2 });
    // One that cannot be read was never finished.
    let (name, _) = chosen(&names, None, &contents[..1]);
    assert_eq!(name, "00002-lost.metadata.json");
}

#[test]
fn a_log_tells_more_than_a_version() {
    // Replaced through another catalog, which counts anew: its log names what was current before.
    let names = [("00007-a.metadata.json", 10), ("00000-b.metadata.json", 20)];
    let contents = [
        ("00007-a.metadata.json", version(90, &[])),
        (
            "00000-b.metadata.json",
            version(80, &["00007-a.metadata.json"]),
        ),
    ];
    let (name, why) = chosen(&names, None, &contents);
    assert_eq!(name, "00000-b.metadata.json");
    assert_eq!(why, Why::NewestInLog { of: 2 });
}

#[test]
fn no_metadata_and_loops_of_logs_are_errors() {
    let none = choose("/t", &[], None, &Files::default());
    assert!(matches!(none, Err(Error::NoMetadata { .. })));
    let names = ["00001-a.metadata.json", "00001-b.metadata.json"];
    let files = names.map(|name| Candidate {
        location: format!("/t/metadata/{name}"),
        modified_ms: None,
    });
    let contents = [
        (files[0].location.clone(), version(1, &[names[1]])),
        (files[1].location.clone(), version(1, &[names[0]])),
    ];
    let looped = choose("/t", &files, None, &Files(contents.into()));
    assert!(matches!(looped, Err(Error::NoMetadata { .. })));
    let unread = choose("/t", &files, None, &Files::default());
    assert!(unread.expect_err("nothing can be read").is_not_found());
}
