//! The same checks over memory, a directory, and a real S3 server.

use std::sync::Arc;

use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use repo_format::ErrorKind;
use repo_store::{Delete, Error, Store};
use repo_testkit::{AppendOnly, FaultStore, Overwriting, Seaweed, Verb, conformance};

#[tokio::test]
async fn memory() {
    let store = Store::open("memory://", &[]).unwrap();
    conformance::run(&store).await;
    assert_eq!(store.local_path("config"), None);
}

#[tokio::test]
async fn local() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("not/yet");
    let store = Store::open(missing.to_str().unwrap(), &[]).unwrap();
    conformance::run(&store).await;
    assert_eq!(
        std::fs::read(store.local_path("config").unwrap()).unwrap(),
        b"{}"
    );
}

#[tokio::test]
async fn local_below_a_decorator() {
    let directory = tempfile::tempdir().unwrap();
    let files = LocalFileSystem::new_with_prefix(directory.path()).unwrap();
    let faults = FaultStore::new(Arc::new(files), u64::MAX);
    let store = Store::new(Arc::new(faults), "decorated").with_walked_listing();
    conformance::run(&store).await;
}

#[tokio::test]
async fn s3() {
    let server = Seaweed::shared();
    let store = Store::open(&server.location("conformance/one"), &server.options()).unwrap();
    conformance::run(&store).await;
}

#[tokio::test]
async fn s3_names_what_is_wrong() {
    let server = Seaweed::shared();
    let missing = Store::open("s3://no-such-bucket/x", &server.options()).unwrap();
    for error in [
        missing.put_new("a", "1".into()).await.unwrap_err(),
        missing.get("a", 1).await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::BucketNotFound { .. }), "{error:?}");
        assert!(
            error.to_string().contains("s3://no-such-bucket/x"),
            "{error}"
        );
    }
    let mut wrong = server.options();
    wrong.push((
        "aws_secret_access_key".to_owned(),
        "not-the-secret".to_owned(),
    ));
    let denied = Store::open(&server.location("x"), &wrong).unwrap();
    let error = denied.get("a", 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
    assert!(!format!("{error:?}").contains("not-the-secret"));
}

#[tokio::test]
async fn a_lying_store_is_found_out() {
    let store = Store::new(
        Arc::new(Overwriting::new(Arc::new(InMemory::new()))),
        "lying",
    );
    conformance::run_lying(&store).await;
}

#[tokio::test]
async fn a_locked_store_is_probed_all_the_same() {
    let store = Store::new(
        Arc::new(AppendOnly::new(Arc::new(InMemory::new()))),
        "locked",
    );
    assert!(store.probe_create_only().await.unwrap());
    store.put_new("a", "1".into()).await.unwrap();
    let refused = store.delete("a").await.unwrap();
    assert!(matches!(&refused, Delete::Refused(error) if error.kind() == ErrorKind::Denied));
    let error = refused.gone("a", &store).unwrap_err();
    assert_eq!(error.to_string(), "locked refused to delete a");
}

#[tokio::test]
async fn each_operation_is_one_request() {
    let faults = FaultStore::new(Arc::new(InMemory::new()), u64::MAX);
    let store = Store::new(Arc::new(faults.clone()), "counted");
    store.put_new("a/b", "12".into()).await.unwrap();
    store.get("a/b", 2).await.unwrap();
    store.get_range("a/b", 0..1).await.unwrap();
    store.head("a/b").await.unwrap();
    store.delete("a/b").await.unwrap();
    let recording = faults.recording();
    for (verb, count) in [
        (Verb::Put, 1),
        (Verb::Get, 2),
        (Verb::Head, 1),
        (Verb::Delete, 1),
    ] {
        assert_eq!(recording.count(verb), count, "{recording}");
    }
    assert_eq!(recording.total(), 5, "{recording}");
}
