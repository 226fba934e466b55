//! Retention locks: of a real S3 server with Object Lock, and what a store makes of them.

use std::sync::Arc;

use object_store::memory::InMemory;
use repo_format::ErrorKind;
use repo_store::{Delete, LockMode, LockNew, Put, Retention, Store};
use repo_testkit::{MemoryLocks, Seaweed, conformance};

const BUCKET: &str = "s3://locking-bucket";
/// In the year 2200: later than any clock of a test machine.
const LATE_MS: i64 = 7_258_118_400_000;

fn governance(until_ms: i64) -> Retention {
    Retention {
        mode: LockMode::Governance,
        until_ms,
    }
}

fn new_locks(for_ms: i64) -> LockNew {
    LockNew {
        mode: LockMode::Governance,
        for_ms,
        clock: || 1000,
    }
}

#[tokio::test]
async fn a_bucket_with_object_lock() {
    let server = Seaweed::shared();
    server.create_locking_bucket("locking-bucket").unwrap();
    let open = |prefix| Store::open(&format!("{BUCKET}/{prefix}"), &server.options()).unwrap();
    conformance::run(&open("conformance/one")).await;

    let store = open("below/here");
    assert!(store.can_lock().await.unwrap());
    store.put_new("a/b", "1".into()).await.unwrap();
    assert_eq!(store.retention("a/b").await.unwrap(), None);
    let missing = store.retention("a/c").await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing:?}");
    let retained = store.retain("a/c", governance(LATE_MS)).await;
    assert_eq!(retained.unwrap_err().kind(), ErrorKind::NotFound);
    // Extended, and never shortened.
    for (asked, held) in [(0, 0), (1000, 1000), (0, 1000), (1000, 1000)] {
        store
            .retain("a/b", governance(LATE_MS + asked))
            .await
            .unwrap();
        let found = store.retention("a/b").await.unwrap();
        assert_eq!(found, Some(governance(LATE_MS + held)));
    }
    let deleted = store.delete("a/b").await.unwrap();
    assert!(
        matches!(deleted, Delete::Locked { until_ms } if until_ms == LATE_MS + 1000),
        "{deleted:?}"
    );
    let error = deleted.gone("a/b", &store).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("a/b in {BUCKET}/below/here is locked until 2200-01-01T00:00:01Z")
    );
    assert_eq!(store.get("a/b", 1).await.unwrap(), "1");
    assert!(matches!(
        store.delete("a/c").await.unwrap(),
        Delete::Missing
    ));
}

#[tokio::test]
async fn new_objects_are_locked_when_they_are_created() {
    let server = Seaweed::shared();
    server.create_locking_bucket("locking-new").unwrap();
    let plain = Store::open("s3://locking-new/x", &server.options()).unwrap();
    let store = plain.clone().locking(new_locks(LATE_MS - 1000));
    assert_eq!(store.put_new("a", "1".into()).await.unwrap(), Put::Created);
    assert_eq!(store.known_lock("a"), Some(LATE_MS));
    assert_eq!(
        plain.retention("a").await.unwrap(),
        Some(governance(LATE_MS))
    );
    // An answer that was lost, or a lock that failed the first time.
    plain.put_new("b", "2".into()).await.unwrap();
    assert_eq!(
        store.put_new("b", "2".into()).await.unwrap(),
        Put::AlreadyThere
    );
    assert_eq!(
        plain.retention("b").await.unwrap(),
        Some(governance(LATE_MS))
    );
    let other = store.put_new("a", "other".into()).await.unwrap_err();
    assert_eq!(other.kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn a_store_without_locks_says_so() {
    let server = Seaweed::shared();
    let s3 = Store::open(&server.location("no-locks"), &server.options()).unwrap();
    for store in [s3, Store::open("memory://", &[]).unwrap()] {
        assert!(!store.can_lock().await.unwrap());
        store.put_new("a", "1".into()).await.unwrap();
        assert_eq!(store.retention("a").await.unwrap(), None);
        let error = store.retain("a", governance(LATE_MS)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
        let locking = store.clone().locking(new_locks(1));
        let error = locking.put_new("b", "1".into()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
        assert!(matches!(store.delete("a").await.unwrap(), Delete::Deleted));
    }
}

#[tokio::test]
async fn what_was_learned_is_not_asked_for() {
    let inner = Arc::new(InMemory::new());
    let locks = MemoryLocks::new(Arc::<InMemory>::clone(&inner), 1000);
    let store = Store::new(inner, "memory").with_locks(Arc::<MemoryLocks>::clone(&locks));
    let store = store.locking(new_locks(500));
    store.put_new("a", "1".into()).await.unwrap();
    assert_eq!(locks.take_asked(), ["a"]);
    assert_eq!(store.known_locks(), [("a".to_owned(), 1500)]);
    store.learn_lock("a", 1400);
    store.learn_lock("b", 1600);
    assert_eq!(store.known_lock("a"), Some(1500));
    assert_eq!(store.known_lock("b"), Some(1600));
    // The store refuses to shorten, so the longer lock is what is known.
    store.retain("a", governance(1200)).await.unwrap();
    assert_eq!(store.known_lock("a"), Some(1500));
    let other = Retention {
        mode: LockMode::Compliance,
        until_ms: 9000,
    };
    let refused = store.retain("a", other).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied);

    assert!(matches!(
        store.delete("a").await.unwrap(),
        Delete::Locked { until_ms: 1500 }
    ));
    locks.set_now(1500);
    assert!(matches!(store.delete("a").await.unwrap(), Delete::Deleted));
    assert!(matches!(store.delete("a").await.unwrap(), Delete::Missing));
}
