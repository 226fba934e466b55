//! The content of files of every size, of streams, of files with holes and of many extents.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use repo_core::{ErrorKind, Quiet, SnapshotReport};
use repo_testkit::data::{Random, random, text};

use super::{assert_same, create, names, options, read, stored, take};

const SIZES: [usize; 8] = [
    0,
    1,
    15 << 10,
    64 << 10,
    300 << 10,
    2 << 20,
    (2 << 20) + 1,
    9 << 20,
];

#[tokio::test(flavor = "multi_thread")]
async fn any_range_of_a_file_of_any_size_is_read_back() {
    let source = tempfile::tempdir().unwrap();
    let (repository, _) = create().await;
    let mut model = Vec::new();
    for (seed, len) in (1..).zip(SIZES) {
        for (kind, bytes) in [("text", text(seed, len)), ("random", random(seed, len))] {
            let name = format!("{kind}{len}");
            fs::write(source.path().join(&name), &bytes).unwrap();
            model.push((name, bytes));
        }
    }
    let view = take(&repository, source.path()).await;
    assert_same(&view, source.path()).await;
    let mut random = Random::new(7);
    for (name, bytes) in &model {
        let entry = view.entry(name.as_bytes()).await.unwrap();
        assert_eq!(entry.size, bytes.len() as u64);
        for _ in 0..12 {
            let start = random.below(bytes.len() + 2);
            let len = [0, 1, 5000, 100_000, 3 << 20][random.below(5)];
            let range = start as u64..(start + len) as u64;
            let there = view.read(&entry, range.clone()).await.unwrap();
            let clip = |at: usize| at.min(bytes.len());
            assert!(
                there == bytes[clip(start)..clip(start + len)],
                "{name} {range:?}"
            );
        }
        let (start, end) = (9, 3);
        assert!(view.read(&entry, start..end).await.unwrap().is_empty());
    }
}

async fn stream(
    repository: &repo_core::Repository,
    bytes: Vec<u8>,
    end: Result<(), String>,
) -> repo_core::Result<SnapshotReport> {
    repository
        .snapshot_stream(
            b"dump.sql",
            Box::new(std::io::Cursor::new(bytes)),
            Box::new(move || end),
            &options(),
            Arc::new(Quiet),
        )
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_a_file_and_its_next_version_costs_what_differs() {
    let (repository, store) = create().await;
    let mut bytes = random(1, 5 << 20);
    let first = stream(&repository, bytes.clone(), Ok(())).await.unwrap();
    let before = stored(&store).await;
    bytes.splice(3_000_000..3_000_000, *b"inserted");
    bytes.extend_from_slice(b"appended");
    let second = stream(&repository, bytes.clone(), Ok(())).await.unwrap();
    assert_eq!(second.snapshot.parent, first.id);
    let grown = stored(&store).await - before;
    assert!(grown < 8 << 10, "{grown} bytes for 16 new ones");
    let view = repository.view(&second.id.unwrap()).unwrap();
    assert_eq!(names(&view).await, ["dump.sql"]);
    assert!(read(&view, "dump.sql").await == bytes);
    assert_eq!(view.snapshot().stats.bytes, bytes.len() as u64);
    let view = repository.view(&first.id.unwrap()).unwrap();
    assert!(read(&view, "dump.sql").await == random(1, 5 << 20));

    let empty = stream(&repository, Vec::new(), Ok(())).await.unwrap();
    let view = repository.view(&empty.id.unwrap()).unwrap();
    assert!(read(&view, "dump.sql").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_end_fails_is_no_snapshot() {
    let (repository, _) = create().await;
    let failed = stream(&repository, text(1, 3 << 20), Err("exit 1".to_owned())).await;
    assert_eq!(failed.unwrap_err().to_string(), "exit 1");
    assert_eq!((repository.head(), repository.snapshots().len()), (0, 0));
    for name in [&b""[..], b".", b"..", b"a/b", b"a\0b"] {
        let refused = repository
            .snapshot_stream(
                name,
                Box::new(std::io::empty()),
                Box::new(|| Ok(())),
                &options(),
                Arc::new(Quiet),
            )
            .await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_cannot_be_read_is_no_snapshot() {
    struct Broken(u32);
    impl std::io::Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0 += 1;
            match self.0 {
                1 => Err(std::io::ErrorKind::Interrupted.into()),
                2 => {
                    buffer.fill(b'x');
                    Ok(buffer.len())
                }
                _ => Err(std::io::Error::other("gone")),
            }
        }
    }
    let (repository, _) = create().await;
    let failed = repository
        .snapshot_stream(
            b"a",
            Box::new(Broken(0)),
            Box::new(|| Ok(())),
            &options(),
            Arc::new(Quiet),
        )
        .await;
    assert!(matches!(failed.unwrap_err(), repo_core::Error::Io { .. }));
    assert_eq!(repository.head(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn holes_are_kept_and_cost_nothing() {
    let source = tempfile::tempdir().unwrap();
    let file = File::create(source.path().join("sparse")).unwrap();
    file.set_len(1 << 30).unwrap();
    file.write_all_at(b"near the start", 8192).unwrap();
    file.write_all_at(&random(1, 100_000), 700 << 20).unwrap();
    let hollow = File::create(source.path().join("hollow")).unwrap();
    hollow.set_len(5 << 30).unwrap();
    drop((file, hollow));
    let (repository, store) = create().await;
    let view = take(&repository, source.path()).await;
    assert!(stored(&store).await < 120_000);

    let entry = view.entry(b"sparse").await.unwrap();
    let content = entry.content.clone().unwrap();
    let holes: u64 = content
        .extents
        .iter()
        .filter(|extent| extent.id.is_none())
        .map(|extent| extent.len)
        .sum();
    assert!(holes > (1 << 30) - 300_000, "{holes}");
    assert_eq!(content.len(), 1 << 30);
    let around = view
        .read(&entry, (700 << 20) - 5..(700 << 20) + 5)
        .await
        .unwrap();
    assert_eq!(around[..5], [0; 5]);
    assert_eq!(around[5..], random(1, 5));
    let start = view.read(&entry, 8000..8300).await.unwrap();
    assert_eq!(&start[192..206], b"near the start");
    assert!(start[206..].iter().all(|byte| *byte == 0));

    let entry = view.entry(b"hollow").await.unwrap();
    assert_eq!(entry.size, 5 << 30);
    let end = view
        .read(&entry, (5 << 30) - 20_000..u64::MAX)
        .await
        .unwrap();
    assert_eq!(end, [0; 20_000]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_many_extents_has_chunk_lists() {
    const PARTS: u64 = 10_000;
    let source = tempfile::tempdir().unwrap();
    let path = source.path().join("comb");
    let file = File::create(&path).unwrap();
    for number in 0..PARTS {
        let tooth = number.to_le_bytes().repeat(512);
        file.write_all_at(&tooth, number * 8192).unwrap();
    }
    file.set_len(PARTS * 8192).unwrap();
    let (repository, store) = create().await;
    let view = take(&repository, source.path()).await;
    let entry = view.entry(b"comb").await.unwrap();
    let content = entry.content.clone().unwrap();
    assert!(
        content.level >= 1,
        "20,000 extents do not stand in an entry"
    );
    assert!(content.extents.len() <= 64);
    let whole = view.read(&entry, 0..u64::MAX).await.unwrap();
    assert!(whole == fs::read(&path).unwrap());
    for number in [0, 1, 4999, PARTS - 1] {
        let at = number * 8192 + 4000;
        let there = view.read(&entry, at..at + 200).await.unwrap();
        let at = usize::try_from(at).unwrap();
        assert!(there == whole[at..at + 200], "{number}");
    }

    // Another tooth: its list and those above it, and not the whole of them.
    let before = stored(&store).await;
    file.write_all_at(b"bent", 5000 * 8192).unwrap();
    drop(file);
    let view = take(&repository, source.path()).await;
    assert_same(&view, source.path()).await;
    let grown = stored(&store).await - before;
    assert!(grown < 30 << 10, "{grown} bytes for one extent");
}
