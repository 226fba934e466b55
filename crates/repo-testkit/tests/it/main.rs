//! The doubles do what they say, so that a test failing with them is not their fault.

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode};
use repo_testkit::damage::{self, Image};
use repo_testkit::{AppendOnly, FaultStore, Overwriting, Verb};

#[tokio::test]
async fn requests_past_the_limit_are_not_done() {
    let memory = Arc::new(InMemory::new());
    let faults = FaultStore::new(Arc::<InMemory>::clone(&memory), 2);
    let key = Path::from("a");
    faults.put(&key, "1".into()).await.unwrap();
    faults.head(&key).await.unwrap();
    assert!(faults.put(&Path::from("b"), "2".into()).await.is_err());
    assert!(faults.delete(&key).await.is_err());
    assert!(faults.list(None).try_next().await.is_err());
    assert_eq!(damage::keys(&*memory).await.unwrap(), ["a"]);
    assert_eq!(faults.recording().paths(Verb::Put), ["a", "b"]);
    assert_eq!(faults.recording().total(), 5);
}

#[tokio::test]
async fn a_lost_answer_was_done_and_a_torn_put_half() {
    let memory = Arc::new(InMemory::new());
    let faults = FaultStore::new(Arc::<InMemory>::clone(&memory), u64::MAX)
        .losing_answer(0)
        .tearing_put(1);
    assert!(faults.put(&Path::from("a"), "1234".into()).await.is_err());
    assert!(faults.put(&Path::from("b"), "1234".into()).await.is_err());
    faults.put(&Path::from("c"), "1234".into()).await.unwrap();
    let image = Image::of(&*memory).await.unwrap();
    let stored: Vec<_> = image.objects().values().collect();
    assert_eq!(stored, ["1234", "12", "1234"]);
}

#[tokio::test]
async fn damage_changes_what_it_names_and_an_image_undoes_it() {
    let store = InMemory::new();
    for (key, bytes) in [("a", "aaaa"), ("b/c", "bb")] {
        damage::write(&store, key, Bytes::from(bytes))
            .await
            .unwrap();
    }
    let image = Image::of(&store).await.unwrap();
    damage::flip(&store, "a", 1, 0x03).await.unwrap();
    damage::truncate(&store, "b/c", 1).await.unwrap();
    damage::swap(&store, "a", "b/c").await.unwrap();
    assert_eq!(damage::read(&store, "b/c").await.unwrap(), "abaa");
    assert_eq!(damage::read(&store, "a").await.unwrap(), "b");
    damage::write(&store, "later", Bytes::new()).await.unwrap();
    image.replay(&store, "a").await.unwrap();
    assert_eq!(damage::read(&store, "a").await.unwrap(), "aaaa");
    image.restore(&store).await.unwrap();
    assert_eq!(Image::of(&store).await.unwrap(), image);
}

#[tokio::test]
async fn locks_hold_and_liars_overwrite() {
    let key = Path::from("a");
    let locked = AppendOnly::new(Arc::new(InMemory::new()));
    locked.put(&key, "1".into()).await.unwrap();
    let again = locked.put(&key, "2".into()).await;
    assert!(matches!(again, Err(Error::PermissionDenied { .. })));
    let deleted = locked.delete(&key).await;
    assert!(matches!(deleted, Err(Error::PermissionDenied { .. })));

    let lying = Overwriting::new(Arc::new(InMemory::new()));
    for bytes in ["1", "2"] {
        let create = PutMode::Create.into();
        lying.put_opts(&key, bytes.into(), create).await.unwrap();
    }
    assert_eq!(damage::read(&lying, "a").await.unwrap(), "2");
}
