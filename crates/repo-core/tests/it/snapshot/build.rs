//! Snapshots that an adapter fills: what it puts, keeps and stores.

use std::io;

use repo_core::{
    BuildOptions, Builder, CheckOptions, Error, ErrorKind, PathBytes, ReadAt, ReadData,
};
use repo_testkit::data::{random, text};

use super::*;

struct Bytes(Vec<u8>);

impl ReadAt for Bytes {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let from = usize::try_from(offset).unwrap().min(self.0.len());
        let len = buffer.len().min(self.0.len() - from);
        buffer[..len].copy_from_slice(&self.0[from..from + len]);
        Ok(len)
    }
}

async fn assert_sound(repository: &Repository) {
    let options = CheckOptions {
        read_data: ReadData::All,
    };
    let report = repository.check(&options, Arc::new(Quiet)).await.unwrap();
    assert_eq!(report.findings, []);
}

/// An error of an adapter.
#[derive(Debug)]
enum Failure {
    Core(Error),
    Own(&'static str),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Core(error)
    }
}

fn what() -> BuildOptions {
    BuildOptions {
        kind: "test",
        paths: vec![PathBytes(b"test://one".to_vec())],
        restart: true,
    }
}

async fn build(
    repository: &Repository,
    work: impl FnMut(&Builder<'_>) -> Result<(), Failure> + Send + 'static,
) -> Result<SnapshotReport, Failure> {
    repository
        .build_snapshot(what(), &options(), Arc::new(Quiet), work)
        .await
}

fn file(size: u64) -> Entry {
    Entry {
        mode: 0o640,
        size,
        ..Entry::new(b"", EntryType::File)
    }
}

/// Pages as Postgres writes them, so that they are cut on a grid.
fn pages(seed: u64, count: usize) -> Vec<u8> {
    let mut pages = random(seed, count * 8192);
    for page in pages.chunks_mut(8192) {
        page[..24].fill(0);
        page[12..20].copy_from_slice(&[24, 0, 0, 32, 0, 32, 4, 32]);
    }
    pages
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_in_any_order_stands_in_the_tree() {
    let (repository, _) = create().await;
    let large = text(3, 9 << 20);
    let bytes = large.clone();
    let report = build(&repository, move |builder| {
        assert!(builder.parent().is_none());
        assert_eq!(builder.before(b"z/deep/one")?, None);
        let items = vec![("z/deep/one", 1), ("a", 2), ("z/deep/two", 3), ("z-", 4)];
        builder.each(items, |(path, seed)| {
            let bytes = random(seed, 70_000);
            let stored = builder.store(path.as_bytes(), file(0), &mut &bytes[..], None)?;
            assert_eq!(stored.size, 70_000);
            Ok::<(), Failure>(())
        })?;
        let size = bytes.len() as u64;
        builder.store_at(b"large", file(0), size, &Bytes(bytes.clone()), None)?;
        let mut directory = Entry::new(b"ignored", EntryType::Directory);
        directory.mode = 0o700;
        builder.put(b"z/deep", directory.clone())?;
        builder.put(b"empty", directory)?;
        let mut link = Entry::new(b"", EntryType::Symlink);
        link.target = Some(b"a".to_vec());
        builder.put(b"link", link)?;
        builder.note(b"a", "said");
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.snapshot.source.as_deref(), Some("test"));
    let stats = &report.snapshot.stats;
    assert_eq!((stats.files, stats.directories), (6, 4));
    assert_eq!(stats.files_changed, 5);
    assert_eq!(stats.bytes, 4 * 70_000 + large.len() as u64);
    let view = repository.view(&report.id.unwrap()).unwrap();
    let wanted = [
        "a",
        "empty",
        "large",
        "link",
        "z",
        "z-",
        "z/deep",
        "z/deep/one",
        "z/deep/two",
    ];
    assert_eq!(names(&view).await, wanted);
    assert_eq!(view.entry(b"z/deep").await.unwrap().mode, 0o700);
    assert!(read(&view, "z/deep/one").await == random(1, 70_000));
    assert!(read(&view, "large").await == large);
    assert_sound(&repository).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_did_not_change_is_kept_and_what_did_costs_what_differs() {
    let (repository, store) = create().await;
    let path: &[u8] = b"base/1/2662";
    let first = build(&repository, move |builder| {
        let bytes = pages(1, 400);
        builder.store(path, file(bytes.len() as u64), &mut &bytes[..], None)?;
        builder.store(b"kept", file(0), &mut &random(7, 100_000)[..], None)?;
        Ok(())
    });
    let first = first.await.unwrap();
    let before = stored(&store).await;
    let second = build(&repository, move |builder| {
        assert!(builder.parent().is_some());
        let mut bytes = pages(1, 400);
        bytes[123_456] ^= 1;
        let known = builder.before(path)?.unwrap();
        assert_eq!(
            builder.read_before(&known, 100..200)?,
            pages(1, 1)[100..200]
        );
        let size = bytes.len() as u64;
        builder.store_at(path, file(size), size, &Bytes(bytes), Some(&known))?;
        let listed = builder.list_before(b"")?;
        let listed: Vec<_> = listed.iter().map(|entry| entry.name.as_slice()).collect();
        assert_eq!(listed, [&b"base"[..], b"kept"]);
        let kept = builder.before(b"kept")?.unwrap();
        builder.put(b"kept", kept)?;
        Ok(())
    });
    let second = second.await.unwrap();
    assert_eq!(second.snapshot.parent, first.id);
    assert_eq!(second.snapshot.stats.files_changed, 1);
    let grown = stored(&store).await - before;
    assert!(grown < 4 << 10, "{grown} bytes for one that changed");
    let view = repository.view(&second.id.unwrap()).unwrap();
    assert!(read(&view, "kept").await == random(7, 100_000));
    let there = read(&view, "base/1/2662").await;
    assert_eq!(
        there
            .iter()
            .zip(pages(1, 400))
            .filter(|(a, b)| **a != *b)
            .count(),
        1
    );
    // Files of the same place are another source.
    let stream = repository.snapshots().len();
    assert_eq!(stream, 2);
    assert_sound(&repository).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_fails_leaves_no_snapshot() {
    let (repository, _) = create().await;
    let failed = build(&repository, |builder| {
        builder.store(b"a", file(0), &mut &random(1, 1 << 20)[..], None)?;
        Err(Failure::Own("the server went away"))
    });
    let failed = failed.await.unwrap_err();
    assert!(matches!(failed, Failure::Own("the server went away")));
    let refused: [(&[u8], &[u8]); 7] = [
        (b"a/../b", b""),
        (b"/a", b""),
        (b"a//b", b""),
        (b"a\0b", b""),
        (b"a", b"a/b"),
        (b"a/b", b"a"),
        (b"", b""),
    ];
    for (first, second) in refused {
        let failed = build(&repository, move |builder| {
            builder.put(first, file(0))?;
            builder.put(second, file(0))?;
            Ok(())
        });
        match failed.await.unwrap_err() {
            Failure::Core(error) => assert_eq!(error.kind(), ErrorKind::Invalid),
            Failure::Own(_) => panic!("of the builder"),
        }
    }
    assert_eq!(repository.head(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_file_is_known_again_until_it_changes() {
    let (repository, _) = create().await;
    let source = tempfile::tempdir().unwrap();
    let path = source.path().join("file");
    fs::write(&path, random(1, 50_000)).unwrap();
    settle().await;
    let read = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let work = |read: Arc<std::sync::atomic::AtomicU32>| {
        let path = path.clone();
        move |builder: &Builder<'_>| {
            let name = path.file_name().unwrap().as_bytes();
            let local = builder.open_local(&path).unwrap();
            let before = builder.before(name)?;
            match before.as_ref().filter(|before| local.is(before)) {
                Some(known) => builder.put(name, known.clone())?,
                None => {
                    read.fetch_add(1, Ordering::Relaxed);
                    let entry = local.entry().clone();
                    let size = local.size();
                    let stored = builder.store_at(name, entry, size, &local, before.as_ref())?;
                    assert!(!local.changed(stored.size));
                }
            }
            let holder = builder.describe_local(path.parent().unwrap()).unwrap();
            builder.put(b"", holder.unwrap())?;
            assert!(builder.open_local(path.parent().unwrap()).is_err());
            Ok(())
        }
    };
    for wanted in [1, 1] {
        build(&repository, work(Arc::clone(&read))).await.unwrap();
        assert_eq!(read.load(Ordering::Relaxed), wanted);
    }
    fs::write(&path, random(2, 50_000)).unwrap();
    let report = build(&repository, work(Arc::clone(&read))).await.unwrap();
    assert_eq!(read.load(Ordering::Relaxed), 2);
    let view = repository.view(&report.id.unwrap()).unwrap();
    assert!(super::read(&view, "file").await == random(2, 50_000));
}
