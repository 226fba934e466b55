//! Who may create and open, and the key slots.

use std::sync::Arc;

use repo_core::{
    Access, CheckOptions, CreateOptions, Error, ErrorKind, KeyId, OpenOptions, Quiet, Repository,
};

use super::{content, create, memory, objects, open, replace, take};
use crate::fixture;

#[tokio::test(flavor = "multi_thread")]
async fn a_place_holds_one_repository() {
    let (repository, store) = create(&Access::Plain).await;
    let before = objects(&store).await;
    for access in [Access::Plain, Access::password("p")] {
        let again = Repository::create(store.clone(), &access, &CreateOptions::default()).await;
        let error = again.err().unwrap();
        assert!(matches!(error, Error::AlreadyExists { .. }));
        assert_eq!(error.kind(), ErrorKind::Conflict);
    }
    assert_eq!(objects(&store).await, before);
    let opened = open(&store, &Access::Plain).await.unwrap();
    assert_eq!(opened.id(), repository.id());
    assert!(repository.create_only() && !repository.encrypted());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_none_none_is_opened() {
    for access in [Access::Plain, Access::password("p")] {
        let error = open(&memory(), &access).await.err().unwrap();
        assert!(matches!(error, Error::NoRepository { .. }));
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
    let store = memory();
    store
        .put_new("config", "something else".into())
        .await
        .unwrap();
    let error = open(&store, &Access::Plain).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_right_kind_of_access_opens() {
    let (_, plain) = create(&Access::Plain).await;
    let error = open(&plain, &Access::password("p")).await.err().unwrap();
    assert!(matches!(error, Error::NotEncrypted { .. }));
    assert_eq!(error.kind(), ErrorKind::Denied);

    let (repository, sealed) = create(&Access::password("right")).await;
    assert!(repository.encrypted());
    let error = open(&sealed, &Access::Plain).await.err().unwrap();
    assert!(matches!(error, Error::PasswordNeeded { .. }));
    for wrong in ["wrong", "right ", ""] {
        let error = open(&sealed, &Access::password(wrong)).await.err().unwrap();
        assert!(matches!(error, Error::WrongPassword { .. }), "{wrong:?}");
        assert_eq!(error.kind(), ErrorKind::Denied);
    }
    // Storage that puts another repository's config in place does not get at the keys.
    let config = plain.get("config", 1 << 20).await.unwrap();
    replace(&sealed, "config", config).await;
    let error = open(&sealed, &Access::password("right")).await;
    assert!(matches!(error.err().unwrap(), Error::NotEncrypted { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_come_and_go_and_one_always_stays() {
    let (repository, store) = create(&Access::password("one")).await;
    let id = take(&repository, "secret").await.unwrap();
    let keys = repository.keys().await.unwrap();
    assert_eq!(keys.len(), 1);
    assert!(keys[0].current && keys[0].memory_kib >= 64 << 10);
    let first = keys[0].id;
    let error = repository.remove_key(&first).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!(repository.keys().await.unwrap().len(), 1);

    let second = repository.add_key(b"two", "of another").await.unwrap();
    let opened = open(&store, &Access::password("two")).await.unwrap();
    assert_eq!(content(&opened, &id).await.unwrap(), "secret");
    let keys = opened.keys().await.unwrap();
    let current: Vec<_> = keys.iter().filter(|key| key.current).collect();
    assert_eq!(current.len(), 1);
    assert_eq!((current[0].id, &*current[0].label), (second, "of another"));
    let unknown = opened.remove_key(&KeyId([9; 32])).await;
    assert_eq!(unknown.unwrap_err().kind(), ErrorKind::Denied);

    opened.remove_key(&first).await.unwrap();
    let error = open(&store, &Access::password("one")).await.err().unwrap();
    assert!(matches!(error, Error::WrongPassword { .. }));
    assert!(opened.remove_key(&second).await.is_err());
    // A damaged slot locks out nobody else.
    let harmed = format!("keys/{}", first.to_hex());
    store.put_new(&harmed, "damaged".into()).await.unwrap();
    let opened = open(&store, &Access::password("two")).await.unwrap();
    assert_eq!(opened.keys().await.unwrap().len(), 1);
    // It does not count as one that opens, and can be removed.
    assert!(opened.remove_key(&second).await.is_err());
    opened.remove_key(&first).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_at_hand_open_the_same_repository_only() {
    let (repository, store) = create(&Access::password("one")).await;
    let id = take(&repository, "secret").await.unwrap();
    take(&repository, "later").await.unwrap();
    let earlier = OpenOptions {
        at: Some(1),
        ..OpenOptions::default()
    };
    let opened = repository.reopen(store, &earlier).await.unwrap();
    assert_eq!((opened.head(), opened.snapshots().len()), (1, 1));
    assert_eq!(content(&opened, &id).await.unwrap(), "secret");
    let (_, other) = create(&Access::Plain).await;
    let error = opened.reopen(other, &OpenOptions::default()).await;
    assert_eq!(error.err().unwrap().kind(), ErrorKind::Corrupt);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_creation_leaves_no_key_behind() {
    let (_, sealed) = create(&Access::password("one")).await;
    let store = memory();
    for (key, bytes) in objects(&sealed).await {
        if key.starts_with("keys/") {
            store.put_new(&key, bytes).await.unwrap();
        }
    }
    let torn = format!("keys/{}", "ab".repeat(32));
    store.put_new(&torn, "REPO".into()).await.unwrap();
    let repository = fixture::create(store.clone(), &Access::password("two")).await;
    let left = objects(&store).await;
    assert_eq!(
        left.keys().filter(|key| key.starts_with("keys/")).count(),
        1
    );
    let report = repository
        .check(&CheckOptions::default(), Arc::new(Quiet))
        .await;
    assert_eq!(report.unwrap().findings, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_in_clear_has_no_keys() {
    let (repository, _) = create(&Access::Plain).await;
    assert!(repository.keys().await.unwrap().is_empty());
    let error = repository.add_key(b"p", "").await.err().unwrap();
    assert!(matches!(error, Error::NotEncrypted { .. }));
}
