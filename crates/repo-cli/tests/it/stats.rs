//! What is stored, for whom, and how it grew.

use serde_json::Value;

use crate::driver::{Home, noise, of_type};

fn number(message: &Value, field: &str) -> u64 {
    message[field].as_u64().expect("a number")
}

/// A history whose sums are known: 300 KiB that stay, 200 KiB of another host, 100 KiB of one snapshot.
fn history() -> Home {
    let home = Home::plain();
    home.write("data/stays", noise(1, 300 << 10));
    home.write("other/its-own", noise(2, 200 << 10));
    home.write("other/text", "the same line again\n".repeat(10_000));
    home.snapshot(["data", "--time", "2026-03-01T10:00:00Z"]);
    home.snapshot(["other", "--time", "2026-03-02T10:00:00Z"]);
    home.write("data/once", noise(3, 100 << 10));
    home.snapshot(["data", "--time", "2026-03-03T10:00:00Z"]);
    home
}

#[test]
fn sums_savings_and_what_removing_a_snapshot_frees() {
    let home = history();
    let messages = home.json(["stats", "--detail"]);
    let stats = of_type(&messages, "stats")[0];
    let text = 20 * 10_000;
    let logical = (300 + 200 + 400) * 1024 + text;
    assert_eq!(number(stats, "logical_bytes"), logical);
    let usage = of_type(&messages, "usage")[0];
    assert_eq!(number(usage, "logical_bytes"), logical);
    let distinct = number(usage, "data_bytes");
    // The first file is stored once of three times, and the lines are alike only to the compressor.
    assert_eq!(
        number(usage, "saved_by_deduplication"),
        logical - distinct,
        "{usage}"
    );
    assert!(number(usage, "saved_by_deduplication") >= 300 << 10);
    assert!(number(usage, "saved_by_compression") > text / 2, "{usage}");
    assert_eq!(number(usage, "unneeded_stored"), 0);

    let sources = of_type(&messages, "source_usage");
    let alone: Vec<(u64, u64)> = sources
        .iter()
        .map(|source| {
            (
                number(source, "snapshots"),
                number(source, "exclusive_bytes"),
            )
        })
        .collect();
    assert_eq!(
        alone[0],
        (2, 400 << 10),
        "data is before other: {sources:?}"
    );
    assert_eq!(alone[1].0, 1);
    let snapshots = of_type(&messages, "snapshot_usage");
    let frees: Vec<u64> = snapshots
        .iter()
        .map(|snapshot| number(snapshot, "exclusive_bytes"))
        .collect();
    assert_eq!((frees[0], frees[2]), (0, 100 << 10), "{snapshots:?}");

    // It is so: what only the newest needs is what a collection gives back.
    let stored = number(snapshots[2], "exclusive_stored");
    let newest = snapshots[2]["id"].as_str().expect("an id");
    home.ok(["forget", newest]);
    let after = home.json(["stats", "--detail"]);
    let unneeded = number(of_type(&after, "usage")[0], "unneeded_stored");
    assert_eq!(unneeded, stored);
    home.ok(["gc", "--max-unused", "0", "--reader-grace", "0"]);
    let after = home.json(["stats", "--detail"]);
    assert_eq!(number(of_type(&after, "usage")[0], "unneeded_stored"), 0);

    let text = home.ok(["stats", "--detail"]);
    for heading in ["HOST       SNAPSHOTS", "ID        TIME", "saved  "] {
        assert!(text.contains(heading), "{text}");
    }
    assert!(!text.contains("TABLE"), "there are none: {text}");
}

#[test]
fn each_table_is_counted_by_itself() {
    let home = Home::plain();
    crate::tables::every_message(&home);
    let messages = home.json(["stats", "--detail"]);
    let tables = of_type(&messages, "table_usage");
    assert_eq!(tables.len(), 1, "{tables:?}");
    assert_eq!(tables[0]["name"], "db.t");
    assert_eq!(number(tables[0], "snapshots"), 2);
    assert!(number(tables[0], "exclusive_bytes") > 0);
    let text = home.ok(["stats", "--detail"]);
    assert!(
        text.contains("TABLE  SNAPSHOTS") && text.contains("db.t "),
        "{text}"
    );
}

#[test]
fn growth_is_drawn_as_well_formed_svg() {
    let home = history();
    home.ok(["stats", "--svg", "growth.svg"]);
    let drawn = std::fs::read_to_string(home.path("growth.svg")).expect("a file");
    assert!(drawn.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""));
    let parsed = std::process::Command::new("python3")
        .args([
            "-c",
            "import sys, xml.dom.minidom as m; m.parse(sys.argv[1])",
        ])
        .arg(home.path("growth.svg"))
        .status();
    assert!(parsed.expect("python3 is there").success(), "{drawn}");
    assert!(
        drawn.contains(">2026-03-01") && drawn.contains(">2026-03-03"),
        "{drawn}"
    );
    // Both lines have a step for each snapshot after the first.
    let lines: Vec<&str> = drawn
        .lines()
        .filter(|line| line.starts_with("<path"))
        .collect();
    assert_eq!(lines.len(), 2);
    for line in lines {
        assert_eq!(line.matches('H').count(), 2, "{line}");
    }
    let line = home.fails(1, ["stats", "--svg", "nowhere/growth.svg"]);
    assert!(line.contains("nowhere/growth.svg"), "{line}");
}
