//! Retirement of keys: the old one opens nothing that is stored, and nobody is misled by a log whose
//! start is gone.

#![expect(clippy::panic, reason = "what fails here fails the test")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use repo_core::{
    Access, CheckOptions, Error, GcOptions, OpenOptions, Quiet, Repository, Reseal, Result,
    RotateOptions, Severity, SnapshotId, Store,
};
use repo_testkit::FaultStore;
use tokio::runtime::Handle;

use super::rotate::{count, epochs, filled, keys_of, to};
use super::{checkpoint_key, commit_key, commits, content, create, objects, open, take};

fn keep() -> RotateOptions {
    RotateOptions {
        action: "retire".to_owned(),
        ..RotateOptions::default()
    }
}

/// Seals everything anew and deletes what it replaced.
async fn reseal(repository: &Repository) {
    let options = GcOptions {
        reader_grace_ms: 0,
        writer_grace_ms: 0,
        reseal: Reseal::All,
        ..GcOptions::default()
    };
    repository.gc(&options, Arc::new(Quiet)).await.unwrap();
}

async fn check(repository: &Repository) {
    let options = CheckOptions::default();
    let report = repository.check(&options, Arc::new(Quiet)).await.unwrap();
    let damage = report
        .findings
        .iter()
        .filter(|found| found.severity == Severity::Damage);
    assert_eq!(damage.count(), 0, "{:?}", report.findings);
}

/// What a client sees who opens the repository now.
async fn fresh(by: &Repository, store: Store) -> Repository {
    let reopened = by.reopen(store, &OpenOptions::default()).await;
    reopened.expect("a new client is never misled")
}

/// The states from commit `begins` on can be opened, and none before.
async fn opens_from(by: &Repository, store: &Store, begins: u64) {
    for (at, there) in [(begins, true), (begins - 1, false), (1, false)] {
        let options = OpenOptions {
            at: Some(at),
            ..OpenOptions::default()
        };
        match by.reopen(store.clone(), &options).await {
            Ok(earlier) => assert!(there && earlier.snapshots().len() == 1, "{at}"),
            Err(Error::BeforeLog { oldest, .. }) => assert!(!there && oldest == begins),
            Err(error) => panic!("{at}: {error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_key_opens_nothing_that_is_stored() {
    let (repository, store) = create(&Access::password("one")).await;
    let first = take(&repository, "first").await.unwrap();
    commits(&repository, first, 70).await;
    let renamed = repository.head();
    let thief = keys_of(&store, "one").await;
    let one = Access::password("one");

    // Nothing is retired before there is a newer key, or while the older one is needed.
    let done = repository.retire_keys(b"one", &keep()).await.unwrap();
    assert_eq!(done, repo_core::Retired::default());
    repository.rotate_key(b"one", &to("two")).await.unwrap();
    let before = objects(&store).await;
    let error = repository.retire_keys(b"two", &keep()).await.unwrap_err();
    let Error::KeysNeeded {
        needed,
        condemned,
        unnamed,
    } = error
    else {
        panic!("{error}");
    };
    assert!(needed >= 3 && condemned == 0 && unnamed == 0);
    assert_eq!(objects(&store).await, before);

    let two = Access::password("two");
    let repository = open(&store, &two).await.unwrap();
    reseal(&repository).await;
    let error = repository.retire_keys(b"one", &keep()).await.unwrap_err();
    assert!(matches!(error, Error::WrongPassword { .. }));
    let done = repository.retire_keys(b"two", &keep()).await.unwrap();
    assert_eq!(done.epochs, [1]);
    assert_eq!(
        (done.added.len(), done.removed.len(), done.kept.len()),
        (1, 1, 0)
    );
    assert!(done.cut > renamed, "{}", done.cut);
    for prefix in ["packs/", "index/", "log/"] {
        let epochs = epochs(&store, prefix).await;
        assert_eq!(count(&epochs, 2), epochs.len(), "{prefix}");
    }
    for (key, stored) in objects(&store).await {
        let number = key.strip_prefix("log/").and_then(|name| name.parse().ok());
        if let Some(number) = number {
            assert!(repo_format::commit::open(&thief, number, &stored).is_err());
        }
    }
    assert!(open(&store, &one).await.is_err());
    let kept = keys_of(&store, "two").await.secrets();
    assert_eq!(kept.epochs.len(), 1);
    assert_eq!(kept.id_key, thief.secrets().id_key);

    // What is left is a whole repository, whose log begins later.
    let opened = open(&store, &two).await.unwrap();
    assert_eq!(content(&opened, &first).await.unwrap(), "first");
    assert_eq!(opened.key_epochs().len(), 1);
    check(&opened).await;
    take(&opened, "second").await.unwrap();
    let log = opened.log(usize::MAX).await.unwrap();
    assert_eq!(log.last().unwrap().number, done.begins);
    let error = opened
        .undo(renamed, "undo", Arc::new(Quiet))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::BeforeLog { oldest, .. } if oldest == done.begins));
    opens_from(&opened, &store, done.begins).await;

    // Again: there is nothing to do, and the next one goes as the first.
    let again = opened.retire_keys(b"two", &keep()).await.unwrap();
    assert_eq!(
        (again.epochs.len(), again.cut, again.added.len()),
        (0, 0, 0)
    );
    opened.rotate_key(b"two", &to("three")).await.unwrap();
    let opened = open(&store, &Access::password("three")).await.unwrap();
    reseal(&opened).await;
    let done = opened.retire_keys(b"three", &keep()).await.unwrap();
    assert_eq!(done.epochs, [2]);
    let opened = open(&store, &Access::password("three")).await.unwrap();
    assert_eq!(opened.snapshots().len(), 2);
    check(&opened).await;
}

/// A repository whose older key is needed no more, and one client of it.
async fn ready() -> (Repository, BTreeMap<String, Bytes>, SnapshotId) {
    let (repository, store) = create(&Access::password("one")).await;
    let id = take(&repository, "text").await.unwrap();
    let same = RotateOptions::default();
    repository.rotate_key(b"one", &same).await.unwrap();
    let repository = open(&store, &Access::password("one")).await.unwrap();
    reseal(&repository).await;
    let base = objects(&store).await;
    (repository, base, id)
}

fn over(faults: &FaultStore) -> Store {
    Store::new(Arc::new(faults.clone()), "memory")
}

/// The same, asked again where a commit went between the answer that it is there and the look at it.
fn patiently(faults: &FaultStore) -> Store {
    over(faults).with_retry(Duration::from_secs(10))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retirement_stopped_anywhere_goes_on_from_there() {
    let (repository, base, id) = ready().await;
    let unharmed = filled(&base).await;
    let before = unharmed.recording().total() as u64;
    let retirer = fresh(&repository, over(&unharmed)).await;
    let opened = unharmed.recording().total() as u64;
    retirer.retire_keys(b"one", &keep()).await.unwrap();
    let after = unharmed.recording().total() as u64;
    assert!(after - opened > 15);
    for lose in [false, true] {
        for k in (opened - before..after - before).step_by(if lose { 5 } else { 1 }) {
            let memory = Arc::new(filled(&base).await);
            let sound = Store::new(Arc::clone(&memory) as _, "memory");
            let faults = if lose {
                FaultStore::new(memory, u64::MAX).losing_answer(k)
            } else {
                FaultStore::new(memory, k)
            };
            let retirer = fresh(&repository, over(&faults)).await;
            let stopped = retirer.retire_keys(b"one", &keep()).await;
            let opened = open(&sound, &Access::password("one")).await.unwrap();
            assert_eq!(content(&opened, &id).await.unwrap(), "text", "{k}, {lose}");
            take(&opened, "more").await.unwrap();
            check(&opened).await;
            let done = opened.retire_keys(b"one", &keep()).await;
            let done = done.unwrap_or_else(|error| panic!("{k}, {lose}: {stopped:?}, {error}"));
            assert!(done.kept.is_empty());
            for prefix in ["packs/", "index/", "log/"] {
                let epochs = epochs(&sound, prefix).await;
                assert_eq!(count(&epochs, 2), epochs.len(), "{k}, {lose}: {prefix}");
            }
            let kept = keys_of(&sound, "one").await.secrets();
            assert_eq!(kept.epochs.len(), 1, "{k}, {lose}");
            let opened = fresh(&repository, sound).await;
            assert_eq!(opened.snapshots().len(), 2);
            check(&opened).await;
        }
    }
}

/// What is done by somebody else while a request waits.
fn meanwhile<F>(work: impl FnOnce() -> F + Send + 'static) -> impl FnOnce() + Send + 'static
where
    F: Future<Output = ()>,
{
    let runtime = Handle::current();
    move || {
        let other = std::thread::spawn(move || runtime.block_on(work()));
        other.join().expect("the other one did its work");
    }
}

/// A writer's change: tags that nobody else sets.
async fn change(writer: &Repository, id: SnapshotId) -> Result<()> {
    let tags = vec!["of the writer".to_owned()];
    writer.retag(&[(id, tags)], "tag").await.map(drop)
}

fn changed(repository: &Repository) -> bool {
    let snapshots = repository.snapshots();
    snapshots[0].tags == ["of the writer"]
}

/// What must hold when a writer ends: it was told the truth, and so is everybody else.
async fn judge(told: &Result<()>, writer: &Repository, by: &Repository, store: Store, at: &str) {
    let seen = fresh(by, store.clone()).await;
    match told {
        Ok(()) => assert!(changed(&seen), "{at}: a change that was told is not there"),
        Err(Error::KeysRetired { .. } | Error::KeysRotated { .. }) => {}
        Err(error) => panic!("{at}: {error}"),
    }
    match writer.refresh().await {
        Ok(()) => assert_eq!(writer.head(), seen.head(), "{at}"),
        Err(Error::KeysRetired { .. } | Error::KeysRotated { .. }) => {}
        Err(error) => panic!("{at}: {error}"),
    }
    check(&seen).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_slept_through_a_retirement_is_not_misled() {
    let (repository, base, id) = ready().await;
    // Whether others have committed since the writer has read the log.
    for late in [false, true] {
        let (mut k, mut void, mut sound) = (0, 0, 0);
        loop {
            let memory = filled(&base).await;
            let faults = FaultStore::new(Arc::new(memory.clone()), u64::MAX);
            let writer = fresh(&repository, patiently(&faults)).await;
            let other = fresh(&repository, over(&memory)).await;
            if late {
                commits(&other, id, 3).await;
            }
            let retirer = other.clone();
            faults.wait(
                k,
                meanwhile(move || async move {
                    retirer.retire_keys(b"one", &keep()).await.unwrap();
                    take(&retirer, "after").await.unwrap();
                }),
            );
            let told = change(&writer, id).await;
            if !faults.has_waited() {
                break;
            }
            let at = format!("late: {late}, before request {k}");
            judge(&told, &writer, &other, over(&memory), &at).await;
            void += usize::from(told.is_err());
            sound += usize::from(told.is_ok());
            k += 1;
        }
        // A writer that was late finds its number free; one that was not meets the retirement.
        let expected = if late { void > 0 } else { sound > 0 };
        assert!(
            k >= 2 && expected,
            "{k} requests, {void} void, {sound} sound"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_between_the_steps_of_a_retirement_is_not_misled() {
    let (repository, base, id) = ready().await;
    // Whether others have committed since the writer has read the log.
    for late in [false, true] {
        let mut k = 0;
        loop {
            let memory = filled(&base).await;
            let faults = FaultStore::new(Arc::new(memory.clone()), u64::MAX);
            let retirer = fresh(&repository, over(&faults)).await;
            let writer = fresh(&repository, over(&memory)).await;
            if late {
                commits(&fresh(&repository, over(&memory)).await, id, 3).await;
            }
            let (sleeper, result) = (writer.clone(), Arc::new(std::sync::Mutex::new(None)));
            let told = Arc::clone(&result);
            faults.wait(
                k,
                meanwhile(move || async move {
                    let done = change(&sleeper, id).await;
                    *told.lock().unwrap() = Some(done);
                }),
            );
            retirer.retire_keys(b"one", &keep()).await.unwrap();
            if !faults.has_waited() {
                break;
            }
            let told = result.lock().unwrap().take().unwrap();
            let at = format!("late: {late}, before request {k}");
            judge(&told, &writer, &repository, over(&memory), &at).await;
            k += 1;
        }
        assert!(k > 15, "{k} requests");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_came_too_late_counts_for_nobody() {
    let (repository, base, id) = ready().await;
    let memory = filled(&base).await;
    let faults = FaultStore::new(Arc::new(memory.clone()), u64::MAX);
    let [writer, reader] = [
        fresh(&repository, over(&faults)).await,
        fresh(&repository, over(&memory)).await,
    ];
    let late = writer.head() + 1;
    let other = fresh(&repository, over(&memory)).await;
    commits(&other, id, 3).await;
    // The writer dies before it can take it back.
    let retirer = other.clone();
    let dying = faults.clone();
    faults.wait(
        0,
        meanwhile(move || async move {
            let done = retirer.retire_keys(b"one", &keep()).await.unwrap();
            assert!(done.begins > late);
            dying.wait(1, {
                let dying = dying.clone();
                move || dying.stop()
            });
        }),
    );
    assert!(change(&writer, id).await.is_err());
    let store = over(&memory);
    assert!(objects(&store).await.contains_key(&commit_key(late)));
    assert!(!objects(&store).await.contains_key(&checkpoint_key(late)));

    let error = reader.refresh().await.unwrap_err();
    assert!(matches!(error, Error::KeysRetired { .. }), "{error}");
    let error = change(&reader, id).await.unwrap_err();
    assert!(matches!(error, Error::KeysRetired { .. }), "{error}");
    let seen = fresh(&repository, store.clone()).await;
    assert!(!changed(&seen));
    let options = OpenOptions {
        at: Some(late),
        ..OpenOptions::default()
    };
    let error = repository
        .reopen(store.clone(), &options)
        .await
        .err()
        .unwrap();
    assert!(matches!(error, Error::BeforeLog { .. }), "{error}");
    check(&seen).await;
    // The next retirement clears up.
    let done = seen.retire_keys(b"one", &keep()).await.unwrap();
    assert_eq!(done.cut, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_retired_key_sealed_is_not_committed_any_more() {
    let (repository, store) = create(&Access::password("one")).await;
    let id = take(&repository, "text").await.unwrap();
    // Stores under the first key until it learns of another.
    let faults = FaultStore::new(Arc::new(filled(&objects(&store).await).await), u64::MAX);
    let sound = over(&faults);
    let writer = fresh(&repository, sound.clone()).await;
    let other = fresh(&repository, sound.clone()).await;
    other
        .rotate_key(b"one", &RotateOptions::default())
        .await
        .unwrap();
    let other = open(&sound, &Access::password("one")).await.unwrap();
    reseal(&other).await;
    // It knows both keys and all of the log, and still may have stored something under the first.
    writer.refresh().await.unwrap();
    other.retire_keys(b"one", &keep()).await.unwrap();
    let error = change(&writer, id).await.unwrap_err();
    assert!(matches!(error, Error::KeysRetired { .. }), "{error}");
    let opened = open(&sound, &Access::password("one")).await.unwrap();
    assert!(!changed(&opened));
    take(&opened, "more").await.unwrap();
    check(&opened).await;
}
