//! Moves of tables of random schemas: what comes out is what would have been written at the new place.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::Config;
use repo_tables::iceberg::{
    Metadata, Prefixes, Relocated, Relocation, Selection, TableUuid, files_of, pin, relocate,
};

use crate::avro::{of, value};
use crate::table_writer::{Content, File, Files, Manifest, Place, Table, Written};

fn content() -> impl Strategy<Value = Content> {
    prop_oneof![
        Just(Content::Data),
        Just(Content::EqualityDeletes),
        (0_u8..5, any::<bool>()).prop_map(|(rows, equal)| Content::PositionDeletes(rows, equal)),
        Just(Content::DeletionVectors),
    ]
}

fn manifest() -> impl Strategy<Value = Manifest> {
    (of(), of()).prop_flat_map(|(partition, more)| {
        let file = (0_i64..3, content(), value(&partition), value(&more));
        let file = file.prop_map(|(status, content, partition, more)| File {
            status,
            content,
            partition,
            more,
        });
        let blocks = prop::collection::vec(prop::collection::vec(file, 0..4), 0..3);
        blocks.prop_map(move |blocks| Manifest {
            partition: partition.clone(),
            more: more.clone(),
            blocks,
        })
    })
}

fn table() -> impl Strategy<Value = Table> {
    let codec = prop::sample::select(vec!["null", "deflate", "snappy", "zstandard"]);
    let manifests = prop::collection::vec(manifest(), 0..4);
    (codec, manifests).prop_map(|(codec, manifests)| Table { codec, manifests })
}

fn move_to(
    files: &Files,
    metadata: &str,
    from: &str,
    to: &str,
) -> (Relocated, BTreeMap<String, Vec<u8>>) {
    let metadata = Metadata::fetch(metadata, files).expect("metadata");
    let relocation = Relocation {
        prefixes: Prefixes::new([(from, to)]).expect("prefixes"),
        uuid: TableUuid::Keep,
    };
    let written = Written::default();
    let relocated = relocate(&metadata, &relocation, files, &written).expect("a move");
    (relocated, written.0.into_inner().expect("a lock"))
}

proptest! {
    #![proptest_config(Config::with_cases(300))]

    #[test]
    fn a_moved_table_is_what_is_written_there(table in table(), longer in any::<bool>()) {
        let from = "file:/a/table";
        let to = if longer { "s3://bucket/a much longer/place" } else { "/b" };
        let source = Place::new(&table, from, false);
        let place = source.metadata();
        let files = Files::of(source.files());

        let (stays, nothing) = move_to(&files, &place, "/a/table", "file:///a/table");
        prop_assert_eq!((stays.rewritten, nothing.len()), (0, 0));

        let (relocated, written) = move_to(&files, &place, "/a/table", to);
        let target = Place::new(&table, to, true);
        prop_assert_eq!(&relocated.metadata, &target.metadata());
        let expected = target.files();
        if table.codec == "null" {
            // A file of nothing that holds a location keeps its bytes.
            for (location, bytes) in &expected {
                let moved = written.get(location).cloned().or_else(|| {
                    let at = location.strip_prefix(to).expect("it is there");
                    let files = files.files.lock().expect("a lock");
                    files.get(&format!("{from}{at}")).map(|bytes| bytes.to_vec())
                });
                prop_assert_eq!(moved.as_ref(), Some(bytes), "{}", location);
            }
        }
        // Back again: the same table, whatever the codec made of the lengths.
        let there = Files::of(expected);
        let (_, home) = move_to(&there, &relocated.metadata, to, from);
        let again = files_of_place(&files, &place);
        if table.codec == "null" {
            let plain = table.manifests.iter().flat_map(|m| m.blocks.iter().flatten());
            let dropped = plain.filter(|file| {
                matches!(file.content, Content::PositionDeletes(_, false))
            }).count();
            if dropped == 0 {
                let source = Place::new(&table, from, false).files();
                for (location, bytes) in &home {
                    prop_assert_eq!(Some(bytes), source.get(location));
                }
            }
        }
        prop_assert_eq!(again.len(), files_of_place(&there, &relocated.metadata).len());
    }

    #[test]
    fn a_pinned_table_has_the_files_of_its_snapshot(table in table()) {
        let source = Place::new(&table, "/a/table", false);
        let place = source.metadata();
        let files = Files::of(source.files());
        let metadata = Metadata::fetch(&place, &files).expect("metadata");
        for snapshot in metadata.snapshots() {
            let text = pin(&metadata, snapshot).expect("pinned");
            let pinned = Metadata::parse(&place, text.into()).expect("metadata");
            let of = |metadata: &Metadata, selection: Selection| {
                let mut found = Vec::new();
                let told = files_of(metadata, &selection, &files, &mut |file| {
                    found.push(file.location);
                    Ok(())
                });
                told.expect("files");
                found.sort();
                found
            };
            let selected = of(&metadata, Selection::Snapshot(snapshot.snapshot_id));
            prop_assert_eq!(of(&pinned, Selection::Retained), selected);
        }
    }
}

fn files_of_place(files: &Files, metadata: &str) -> Vec<String> {
    let metadata = Metadata::fetch(metadata, files).expect("metadata");
    let mut found = Vec::new();
    files_of(&metadata, &Selection::Retained, files, &mut |file| {
        found.push(file.location);
        Ok(())
    })
    .expect("files");
    found
}
