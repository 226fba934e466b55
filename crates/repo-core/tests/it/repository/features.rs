//! What a later version has written: used where it can be, refused where it must be.

use repo_core::{Access, Cipher, Error, ErrorKind, SnapshotId, Store};
use repo_format::commit::{self, Commit};
use repo_format::config::{Config, Features};
use repo_format::{HEADER_LEN, KeyRing, ObjectKind, Sealer, SessionId};

use super::{commit_key, content, create, open, replace, take};

async fn sample() -> (Store, SnapshotId) {
    let (repository, store) = create(&Access::Plain).await;
    let id = take(&repository, "one").await.unwrap();
    (store, id)
}

async fn config(store: &Store) -> Config {
    let stored = store.get("config", 1 << 20).await.unwrap();
    Config::decode(&stored).unwrap()
}

async fn with_features(store: &Store, features: Features) {
    let config = Config {
        features,
        ..config(store).await
    };
    replace(store, "config", config.encode()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_feature_for_writing_leaves_reading() {
    let (store, id) = sample().await;
    let unknown = Features {
        write: vec![77],
        ..Features::default()
    };
    with_features(&store, unknown).await;
    let repository = open(&store, &Access::Plain).await.unwrap();
    assert_eq!(content(&repository, &id).await.unwrap(), "one");
    let refused = [
        take(&repository, "two").await.map(drop),
        repository.retag(&[(id, Vec::new())], "tag").await,
        repository.add_key(b"p", "").await.map(drop),
    ];
    for error in refused {
        let error = error.unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
    assert_eq!(open(&store, &Access::Plain).await.unwrap().head(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_feature_for_reading_is_refused() {
    let (store, _) = sample().await;
    let unknown = Features {
        read: vec![78],
        ..Features::default()
    };
    with_features(&store, unknown).await;
    let error = open(&store, &Access::Plain).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_version_is_refused() {
    let (store, _) = sample().await;
    let later = Config {
        version: 2,
        ..config(&store).await
    };
    replace(&store, "config", later.encode()).await;
    let error = open(&store, &Access::Plain).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_needs_what_is_unknown_is_refused() {
    let (store, _) = sample().await;
    let before = open(&store, &Access::Plain).await.unwrap();
    let config = config(&store).await;
    let secrets = config.public.unwrap().secrets().unwrap();
    let ring = KeyRing::new(config.repository, Cipher::None, secrets).unwrap();
    let first = store.get(&commit_key(1), 1 << 20).await.unwrap();
    let commit = Commit {
        number: 2,
        previous: commit::hash(&first),
        needs: vec![79],
        ..Commit::default()
    };
    // Sealed by hand: the library does not write what it could not read.
    let session = SessionId([3; 16]);
    assert!(commit::seal(&ring, session, &commit).is_err());
    let raw = repo_format::encode_cbor(&commit);
    let mut sealer = Sealer::create(&ring, ObjectKind::Commit, session, |_| commit_key(2)).unwrap();
    let mut stored = sealer.header().to_vec();
    stored.push(0);
    stored.extend_from_slice(&u32::try_from(raw.len()).unwrap().to_le_bytes());
    stored.extend_from_slice(&raw);
    sealer.seal_tail(&mut stored, HEADER_LEN).unwrap();
    store.put_new(&commit_key(2), stored.into()).await.unwrap();

    let error = open(&store, &Access::Plain).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    // Who has it open already meets it when writing, and does not write past it.
    let refused = take(&before, "two").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    assert!(store.get(&commit_key(3), 1 << 20).await.is_err());
    assert!(before.refresh().await.is_err());
}
