//! Rotation of the keys: nothing is lost, and what the old key opens comes to an end.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use repo_core::{
    Access, Error, ErrorKind, GcOptions, KeyId, OpenOptions, Quiet, Repository, Reseal,
    RotateOptions, Store,
};
use repo_format::commit::{self, Checkpoint, Commit};
use repo_format::config::Config;
use repo_format::{Cipher, KeyRing, SessionId, keyslot};
use repo_testkit::FaultStore;

use super::{checkpoint_key, commit_key, commits, content, copy, create, objects, open, take};

pub(super) fn to(password: &str) -> RotateOptions {
    RotateOptions {
        new_password: Some(password.as_bytes().to_vec()),
        action: "rotate".to_owned(),
        ..RotateOptions::default()
    }
}

/// The epoch in the clear header of each object whose key starts with `prefix`.
pub(super) async fn epochs(store: &Store, prefix: &str) -> BTreeMap<String, u32> {
    let objects = objects(store).await.into_iter();
    let below = objects.filter(|(key, _)| key.starts_with(prefix));
    below
        .map(|(key, bytes)| (key, u32::from_le_bytes(bytes[12..16].try_into().unwrap())))
        .collect()
}

pub(super) fn count(epochs: &BTreeMap<String, u32>, of: u32) -> usize {
    epochs.values().filter(|epoch| **epoch == of).count()
}

/// What somebody knows who had the password before a rotation.
pub(super) async fn keys_of(store: &Store, password: &str) -> KeyRing {
    let stored = store.get("config", 1 << 20).await.unwrap();
    let config = Config::decode(&stored).unwrap();
    let hash = Config::hash(&stored);
    let opened = objects(store).await.into_iter().find_map(|(key, slot)| {
        let id = KeyId::from_hex(key.strip_prefix("keys/")?)?;
        keyslot::unwrap(&slot, &id, password.as_bytes(), hash).ok()
    });
    let secrets = opened.expect("the password opens a slot");
    KeyRing::new(config.repository, Cipher::Aes256Gcm, secrets).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn new_data_has_the_new_key_and_old_data_gets_it_in_parts() {
    let (repository, store) = create(&Access::password("one")).await;
    let mut held = Vec::new();
    // Fewer packs than are merged because they are small.
    for text in ["first", "second"] {
        held.push((take(&repository, text).await.unwrap(), text));
    }
    let done = repository.rotate_key(b"one", &to("two")).await.unwrap();
    assert_eq!((done.epoch, done.first), (2, 3));
    assert_eq!(
        (done.added.len(), done.removed.len(), done.left.len()),
        (1, 1, 0)
    );
    assert_eq!(repository.keys().await.unwrap().len(), 1);
    let known = repository.key_epochs();
    assert_eq!((known.len(), known[1].first), (2, Some(3)));
    assert!(known[1].current && !known[0].current);
    let error = open(&store, &Access::password("one")).await.err().unwrap();
    assert!(matches!(error, Error::WrongPassword { .. }));

    held.push((take(&repository, "third").await.unwrap(), "third"));
    let packs = epochs(&store, "packs/").await;
    assert_eq!(count(&packs, 2), packs.len() - count(&packs, 1));
    assert!(count(&packs, 1) >= 3 && count(&packs, 2) >= 1);

    let mut options = GcOptions {
        reader_grace_ms: 0,
        writer_grace_ms: 0,
        max_unused: repo_core::MaxUnused::Unlimited,
        reseal: Reseal::UpTo(1),
        ..GcOptions::default()
    };
    let repository = open(&store, &Access::password("two")).await.unwrap();
    let report = repository.gc(&options, Arc::new(Quiet)).await.unwrap();
    assert_eq!(report.resealed.objects, 1);
    let left = usize::try_from(report.old_keys.objects).unwrap();
    assert_eq!(left, count(&packs, 1) - 1);
    assert_eq!(
        count(&epochs(&store, "packs/").await, 1),
        count(&packs, 1) - 1
    );
    assert_eq!(count(&epochs(&store, "index/").await, 1), 0);

    options.reseal = Reseal::All;
    let report = repository.gc(&options, Arc::new(Quiet)).await.unwrap();
    assert_eq!(report.old_keys.objects, 0);
    assert_eq!(count(&epochs(&store, "packs/").await, 1), 0);
    let report = repository.gc(&options, Arc::new(Quiet)).await.unwrap();
    assert_eq!((report.resealed.objects, report.written_bytes), (0, 0));
    let reader = open(&store, &Access::password("two")).await.unwrap();
    for (id, text) in &held {
        assert_eq!(content(&reader, id).await.unwrap(), *text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_is_left_behind_unasked() {
    let (repository, store) = create(&Access::password("one")).await;
    let id = take(&repository, "text").await.unwrap();
    let other = repository.add_key(b"other", "of another").await.unwrap();
    let before = objects(&store).await;
    let error = repository.rotate_key(b"one", &to("two")).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.to_string().contains(&other.to_hex()), "{error}");
    let error = repository.rotate_key(b"wrong", &to("two")).await;
    assert!(matches!(error, Err(Error::WrongPassword { .. })));
    assert_eq!(objects(&store).await, before);

    let carried = RotateOptions {
        others: vec![b"other".to_vec()],
        ..to("two")
    };
    repository.rotate_key(b"one", &carried).await.unwrap();
    let opened = open(&store, &Access::password("other")).await.unwrap();
    let keys = opened.keys().await.unwrap();
    assert_eq!(keys.len(), 2);
    assert!(
        keys.iter()
            .any(|key| key.current && key.label == "of another")
    );
    assert_eq!(content(&opened, &id).await.unwrap(), "text");

    let alone = RotateOptions {
        drop_others: true,
        ..to("three")
    };
    let done = opened.rotate_key(b"other", &alone).await.unwrap();
    assert_eq!((done.epoch, done.left.len()), (3, 0));
    assert!(open(&store, &Access::password("two")).await.is_err());
    let opened = open(&store, &Access::password("three")).await.unwrap();
    assert_eq!(content(&opened, &id).await.unwrap(), "text");

    let (plain, _) = create(&Access::Plain).await;
    let error = plain.rotate_key(b"", &RotateOptions::default()).await;
    assert!(matches!(error, Err(Error::NotEncrypted { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_runs_meanwhile_goes_on_or_is_told() {
    let (repository, store) = create(&Access::password("one")).await;
    let first = take(&repository, "first").await.unwrap();
    let kept = open(&store, &Access::password("one")).await.unwrap();
    let same = RotateOptions::default();
    repository.rotate_key(b"one", &same).await.unwrap();
    // Its password still opens a slot: it writes under the new key.
    let second = take(&kept, "second").await.unwrap();
    assert_eq!(count(&epochs(&store, "log/").await, 1), 1);
    assert!(kept.key_epochs()[1].current);

    repository.rotate_key(b"one", &to("two")).await.unwrap();
    let error = take(&kept, "lost").await.unwrap_err();
    assert!(matches!(error, Error::KeysRotated { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let before = objects(&store).await.len();
    assert!(kept.add_key(b"late", "").await.is_err());
    assert_eq!(
        objects(&store).await.len(),
        before,
        "a slot of old keys stays"
    );
    let opened = open(&store, &Access::password("two")).await.unwrap();
    assert_eq!(opened.snapshots().len(), 2);
    assert_eq!(content(&opened, &first).await.unwrap(), "first");
    assert_eq!(content(&opened, &second).await.unwrap(), "second");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_key_adds_nothing_to_the_log() {
    let (repository, store) = create(&Access::password("one")).await;
    let id = take(&repository, "text").await.unwrap();
    commits(&repository, id, 70).await;
    let thief = keys_of(&store, "one").await;
    let done = repository.rotate_key(b"one", &to("two")).await.unwrap();
    let first = done.first;
    let last = objects(&store).await[&commit_key(first)].clone();
    let two = Access::password("two");
    let session = SessionId([7; 16]);

    let forged = Commit {
        number: first + 1,
        previous: commit::hash(&last),
        remove_snapshots: vec![id],
        ..Commit::default()
    };
    let forged = Bytes::from(commit::seal(&thief, session, &forged).unwrap());
    let added = copy(&store).await;
    added.put_new(&commit_key(first + 1), forged).await.unwrap();
    let error = open(&added, &two).await.err().unwrap();
    assert!(matches!(error, Error::OldKey { .. }), "{error}");
    assert!(repository_error(&added, &repository).await);

    // A checkpoint of the old key sums up nothing, wherever it stands.
    for number in [first, first - 1, first + 5] {
        let stored = copy(&store).await;
        let forged = Checkpoint {
            number,
            hash: commit::hash(&objects(&store).await[&commit_key(first.min(number))]),
            ..Checkpoint::default()
        };
        let forged = commit::seal_checkpoint(&thief, session, &forged).unwrap();
        let key = checkpoint_key(number);
        stored.delete(&key).await.unwrap();
        stored.put_new(&key, forged.into()).await.unwrap();
        let opened = open(&stored, &two).await.unwrap();
        assert_eq!((opened.head(), opened.snapshots().len()), (first, 1));
    }

    // Without the commit that began the new key the log was cut.
    let cut = copy(&store).await;
    cut.delete(&commit_key(first)).await.unwrap();
    cut.delete(&checkpoint_key(first)).await.unwrap();
    let error = open(&cut, &two).await.err().unwrap();
    assert!(matches!(error, Error::RolledBack { .. }), "{error}");

    // An earlier state is compared with what the new key vouches for.
    let earlier = OpenOptions {
        at: Some(first - 1),
        ..OpenOptions::default()
    };
    let opened = Repository::open(store.clone(), &two, &earlier).await;
    assert_eq!(opened.unwrap().snapshots().len(), 1);
    let changed = Commit {
        number: first - 1,
        previous: commit::hash(&objects(&store).await[&commit_key(first - 2)]),
        remove_snapshots: vec![id],
        ..Commit::default()
    };
    let changed = commit::seal(&thief, session, &changed).unwrap();
    super::replace(&store, &commit_key(first - 1), changed).await;
    let error = Repository::open(store.clone(), &two, &earlier).await;
    assert!(matches!(error.err(), Some(Error::BrokenChain { .. })));
}

/// Whether a running client refuses what another store holds after its own state.
async fn repository_error(store: &Store, repository: &Repository) -> bool {
    let options = OpenOptions::default();
    let reopened = repository.reopen(store.clone(), &options).await;
    matches!(reopened.err(), Some(Error::OldKey { .. }))
}

/// A store in memory with the objects of `base`.
pub(super) async fn filled(base: &BTreeMap<String, Bytes>) -> FaultStore {
    let memory = FaultStore::in_memory();
    let store = Store::new(Arc::new(memory.clone()), "memory");
    for (key, bytes) in base {
        store.put_new(key, bytes.clone()).await.unwrap();
    }
    memory
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_stopped_anywhere_leaves_a_repository_that_opens() {
    let (repository, store) = create(&Access::password("one")).await;
    let id = take(&repository, "text").await.unwrap();
    let base = objects(&store).await;
    let reopen = async |faults: &FaultStore| {
        let store = Store::new(Arc::new(faults.clone()), "memory");
        let options = OpenOptions::default();
        repository.reopen(store, &options).await.unwrap()
    };
    for (lose, options) in [(false, to("two")), (true, RotateOptions::default())] {
        let becomes = options.new_password.clone();
        let becomes = Access::password(becomes.unwrap_or(b"one".to_vec()));
        // How many requests come before the rotation, and how many with it.
        let unharmed = FaultStore::new(Arc::new(filled(&base).await), u64::MAX);
        let rotator = reopen(&unharmed).await;
        let before = unharmed.recording().total() as u64;
        rotator.rotate_key(b"one", &options).await.unwrap();
        let after = unharmed.recording().total() as u64;
        assert!(after - before > 10);
        for k in before..after {
            let memory = Arc::new(filled(&base).await);
            let sound = Store::new(Arc::clone(&memory) as _, "memory");
            let faults = if lose {
                FaultStore::new(memory, u64::MAX).losing_answer(k)
            } else {
                FaultStore::new(memory, k)
            };
            let done = reopen(&faults).await.rotate_key(b"one", &options).await;
            let opened = match open(&sound, &becomes).await {
                Ok(opened) => opened,
                // Not a trace of the new password is there yet.
                Err(error) => {
                    assert!(matches!(error, Error::WrongPassword { .. }), "{k}: {error}");
                    assert!(done.is_err(), "{k}");
                    open(&sound, &Access::password("one")).await.unwrap()
                }
            };
            assert_eq!(content(&opened, &id).await.unwrap(), "text", "{k}, {lose}");
            take(&opened, "more").await.unwrap();
            let opened = open(&sound, &Access::password("one")).await;
            let opened = match opened {
                Ok(opened) => opened,
                Err(_) => open(&sound, &becomes).await.unwrap(),
            };
            assert_eq!(opened.snapshots().len(), 2, "{k}, {lose}");
        }
    }
}
