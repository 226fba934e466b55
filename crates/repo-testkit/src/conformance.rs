//! The contract of a store, as one set of functions run over every kind of store.
//!
//! It includes what must fail. Each check uses keys of its own, so they share one empty store.

use bytes::Bytes;
use futures::TryStreamExt;
use futures::future::join_all;
use repo_format::ErrorKind;
use repo_store::{Delete, Error, ObjectInfo, Put, Store};

use crate::data;

const LOG_FIRST: &str = "log/00000000000000000001";

/// Runs every check on an empty store; panics at the first promise that is broken.
pub async fn run(store: &Store) {
    assert_eq!(
        list(store, "", None).await,
        [""; 0],
        "the store is not empty"
    );
    missing(store).await;
    bad_keys(store).await;
    create(store).await;
    race(store).await;
    read(store).await;
    large(store).await;
    listing(store).await;
    delete(store).await;
    assert!(
        store.probe_create_only().await.unwrap_or(false),
        "create-only put"
    );
    assert_eq!(
        list(store, "", None)
            .await
            .iter()
            .filter(|k| k.starts_with("probe"))
            .count(),
        0
    );
}

/// The check of a store that overwrites in spite of a create-only put.
pub async fn run_lying(store: &Store) {
    assert!(matches!(store.probe_create_only().await, Ok(false)));
}

async fn missing(store: &Store) {
    let gone = "packs/ab/missing";
    assert_kind(store.get(gone, 10).await, ErrorKind::NotFound);
    assert_kind(store.get_range(gone, 0..1).await, ErrorKind::NotFound);
    assert_kind(store.head(gone).await, ErrorKind::NotFound);
    assert!(store.delete(gone).await.is_ok());
    assert_eq!(list(store, "packs/ab", None).await, [""; 0]);
}

async fn bad_keys(store: &Store) {
    for key in ["", "../up", "a//b", "a/", "sp ace", "hash#1"] {
        assert_kind(store.get(key, 1).await, ErrorKind::Invalid);
        assert_kind(store.put_new(key, Bytes::new()).await, ErrorKind::Invalid);
        assert_kind(store.delete(key).await, ErrorKind::Invalid);
    }
}

async fn create(store: &Store) {
    for (key, bytes) in [
        (LOG_FIRST, &b"one"[..]),
        ("config", b"{}"),
        ("keys/empty", b""),
    ] {
        let bytes = Bytes::copy_from_slice(bytes);
        let put = store.put_new(key, bytes.clone()).await;
        assert_eq!(put.expect("a new object"), Put::Created);
        let again = store.put_new(key, bytes.clone()).await;
        assert_eq!(again.expect("the same object"), Put::AlreadyThere);
        assert_eq!(store.get(key, 3).await.expect("the object"), bytes);
        let info = store.head(key).await.expect("the object");
        assert_eq!((info.key.as_str(), info.size), (key, bytes.len() as u64));
        // Some day after this was written, and no clock runs ahead by decades.
        assert!((1_700_000_000_000..4_000_000_000_000).contains(&info.modified_ms));
    }
    // Shorter, longer, and as long but different.
    for other in ["on", "one more", "eno"] {
        let put = store.put_new(LOG_FIRST, Bytes::from_static(other.as_bytes()));
        let error = put.await.expect_err("a taken key");
        assert!(
            matches!(&error, Error::Conflict { key, .. } if key == LOG_FIRST),
            "{error:?}"
        );
    }
    assert_eq!(store.get(LOG_FIRST, 3).await.expect("the object"), "one");
}

/// Eight writers want each number; one gets it, and all the others know.
async fn race(store: &Store) {
    for round in 0..4 {
        let key = format!("race/{round:020}");
        let claims = (0..8_u8).map(|writer| {
            let key = &key;
            async move { store.put_new(key, Bytes::from(vec![writer; 100])).await }
        });
        let outcomes = join_all(claims).await;
        let winners: Vec<_> = (0_u8..)
            .zip(&outcomes)
            .filter_map(|(writer, outcome)| outcome.is_ok().then_some(writer))
            .collect();
        assert_eq!(winners.len(), 1, "one winner: {outcomes:?}");
        for outcome in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
            assert_eq!(outcome.kind(), ErrorKind::Conflict, "{outcome:?}");
        }
        let kept = store.get(&key, 100).await.expect("the winner's object");
        assert_eq!(kept, vec![winners[0]; 100]);
    }
}

async fn read(store: &Store) {
    let bytes = Bytes::from(data::random(1, 1000));
    let key = "packs/ab/ab54a98ceb1f0ad2ab54a98ceb1f0ad2ab54a98ceb1f0ad2ab54a98ceb1f0ad2";
    store
        .put_new(key, bytes.clone())
        .await
        .expect("a new object");
    assert_eq!(store.get(key, 1000).await.expect("at the limit"), bytes);
    let error = store.get(key, 999).await.expect_err("past the limit");
    assert!(
        matches!(
            error,
            Error::TooLarge {
                size: 1000,
                max: 999,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    for range in [0..1000_u64, 0..1, 999..1000, 10..20, 500..500] {
        let part = store.get_range(key, range.clone()).await.expect("a range");
        let (start, end) = (index(range.start), index(range.end));
        assert_eq!(part, bytes.slice(start..end), "{range:?}");
    }
    for (range, there) in [
        (990..1001_u64, 10),
        (0..5000, 1000),
        (1000..1001, 0),
        (7000..8000, 0),
    ] {
        let error = store.get_range(key, range).await.expect_err("past the end");
        assert!(
            matches!(error, Error::Short { got, .. } if got == there),
            "{error:?}"
        );
    }
    let (start, end) = (20, 10);
    assert_kind(store.get_range(key, start..end).await, ErrorKind::Invalid);
}

async fn large(store: &Store) {
    let bytes = Bytes::from(data::random(2, 20 << 20));
    let key = "packs/cd/large";
    let put = store.put_new(key, bytes.clone()).await;
    assert_eq!(put.expect("a large object"), Put::Created);
    assert!(store.get(key, 20 << 20).await.expect("the object") == bytes);
    let middle = store.get_range(key, 5_000_000..15_000_000).await;
    assert!(middle.expect("a large range") == bytes.slice(5_000_000..15_000_000));
    let again = store.put_new(key, bytes).await;
    assert_eq!(again.expect("the same object"), Put::AlreadyThere);
}

async fn listing(store: &Store) {
    let mut log: Vec<_> = (2..40).map(|n| format!("log/{n:020}")).collect();
    log.push("log/00000000000000000010.checkpoint".to_owned());
    let packs: Vec<_> = (0..20_u32)
        .map(|n| format!("listed/{:02x}/{n:08x}", n * 37 % 256))
        .collect();
    for key in log.iter().rev().chain(&packs) {
        store
            .put_new(key, Bytes::from_static(b"x"))
            .await
            .expect("a new object");
    }
    log.push(LOG_FIRST.to_owned());
    log.sort_unstable();
    assert_eq!(list(store, "log", None).await, log);
    assert_eq!(list(store, "log/", None).await, log);
    for after in [10, 11, 25, 40] {
        let expected: Vec<_> = log.iter().skip(after).cloned().collect();
        assert_eq!(
            list(store, "log", log.get(after - 1).map(String::as_str)).await,
            expected
        );
    }
    // A start between two keys, before the first, and past the last.
    let between = list(store, "log", Some("log/00000000000000000010.a")).await;
    assert_eq!(between, log[10..]);
    assert_eq!(list(store, "log", Some("a")).await, log);
    assert_eq!(list(store, "log", Some("log/9")).await, [""; 0]);

    let mut sorted = packs.clone();
    sorted.sort_unstable();
    assert_eq!(list(store, "listed", None).await, sorted);
    assert_eq!(list(store, "listed", Some(&sorted[7])).await, sorted[8..]);
    // A prefix is whole segments: `list` is none of these.
    assert_eq!(list(store, "list", None).await, [""; 0]);
    let all = list(store, "", None).await;
    assert!(
        all.is_sorted() && all.len() > log.len() + packs.len(),
        "{all:?}"
    );
    let infos: Vec<ObjectInfo> = store
        .list("log", None)
        .await
        .try_collect()
        .await
        .expect("infos");
    assert!(
        infos
            .iter()
            .all(|info| info.modified_ms > 1_700_000_000_000 && info.size > 0)
    );
}

async fn delete(store: &Store) {
    let key = "packs/ef/deleted";
    for content in ["first", "second"] {
        let bytes = Bytes::from_static(content.as_bytes());
        let put = store.put_new(key, bytes).await;
        assert_eq!(put.expect("a free key"), Put::Created);
        let deleted = store.delete(key).await;
        assert!(matches!(deleted, Ok(Delete::Deleted)), "{deleted:?}");
        assert_kind(store.get(key, 10).await, ErrorKind::NotFound);
        assert_eq!(list(store, "packs/ef", None).await, [""; 0]);
        let again = store.delete(key).await;
        assert!(matches!(again, Ok(Delete::Deleted | Delete::Missing)));
    }
}

async fn list(store: &Store, prefix: &str, after: Option<&str>) -> Vec<String> {
    let found = store.list(prefix, after).await;
    let keys: Vec<_> = found
        .map_ok(|info| info.key)
        .try_collect()
        .await
        .expect("a listing");
    keys
}

#[track_caller]
fn assert_kind<T: std::fmt::Debug>(outcome: Result<T, Error>, kind: ErrorKind) {
    let error = outcome.expect_err("an error");
    assert_eq!(error.kind(), kind, "{error:?}");
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("an offset into a buffer")
}
