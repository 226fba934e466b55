//! The log: tags, earlier states, checkpoints, and a log that is not what was seen before.

use repo_core::{Access, Error, ErrorKind, OpenOptions, Repository};

use super::{
    checkpoint_key, commit_key, commits, content, copy, create, open, open_cached, replace, take,
};

#[tokio::test(flavor = "multi_thread")]
async fn tags_are_replaced_and_the_log_tells_it() {
    let (repository, store) = create(&Access::Plain).await;
    let first = take(&repository, "one").await.unwrap();
    let second = take(&repository, "two").await.unwrap();
    let tags = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let changes = [(first, tags(&["b", "a", "b"])), (second, tags(&["c"]))];
    repository.retag(&changes, "tag it").await.unwrap();
    let opened = open(&store, &Access::Plain).await.unwrap();
    for repository in [&repository, &opened] {
        let known = repository.snapshots();
        assert_eq!(
            (&*known[0].tags, &*known[1].tags),
            (&tags(&["a", "b"])[..], &tags(&["c"])[..])
        );
        assert_eq!(repository.view(&first).unwrap().tags(), ["a", "b"]);
    }
    let log = opened.log(2).await.unwrap();
    assert_eq!(log.iter().map(|e| e.number).collect::<Vec<_>>(), [3, 2]);
    assert_eq!(
        (&*log[0].action, &*log[0].retagged),
        ("tag it", &[first, second][..])
    );
    assert_eq!((&*log[1].added, log[1].indexes_added), (&[second][..], 1));
    assert_eq!(opened.log(99).await.unwrap().len(), 3);

    let unknown = repo_core::SnapshotId([1; 32]);
    let refused = opened.retag(&[(unknown, Vec::new())], "tag").await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(opened.head(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_commit_is_a_state_of_its_own() {
    let (repository, store) = create(&Access::Plain).await;
    let first = take(&repository, "one").await.unwrap();
    commits(&repository, first, 69).await;
    let at = |at| OpenOptions {
        at: Some(at),
        ..OpenOptions::default()
    };
    for number in [0, 1, 63, 64, 65, 70] {
        let opened = Repository::open(store.clone(), &Access::Plain, &at(number))
            .await
            .unwrap();
        assert_eq!(opened.head(), number);
        let known = opened.snapshots();
        assert_eq!(known.len(), usize::from(number > 0));
        if number > 1 {
            assert_eq!(known[0].tags, [format!("{}", number - 2)]);
            assert_eq!(content(&opened, &first).await.unwrap(), "one");
        }
    }
    let late = Repository::open(store, &Access::Plain, &at(71)).await;
    assert!(matches!(
        late.err().unwrap(),
        Error::MissingCommit { number: 71 }
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_lost_its_end_is_noticed_by_who_has_seen_more() {
    let cache = tempfile::tempdir().unwrap();
    let (repository, store) = create(&Access::Plain).await;
    take(&repository, "one").await.unwrap();
    let id = take(&repository, "two").await.unwrap();
    open_cached(&store, cache.path()).await.unwrap();
    store.delete(&commit_key(2)).await.unwrap();
    let error = open_cached(&store, cache.path()).await.err().unwrap();
    assert!(matches!(error, Error::RolledBack { seen: 2, .. }));
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    // Who has not seen it cannot know, and who asks for the earlier state gets it.
    assert_eq!(open(&store, &Access::Plain).await.unwrap().head(), 1);
    let other = tempfile::tempdir().unwrap();
    let fresh = open_cached(&store, other.path()).await.unwrap();
    assert!(fresh.view(&id).is_err());
    // The refusal did not forget what was seen.
    assert!(open_cached(&store, cache.path()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_wrote_or_fetched_it_has_seen() {
    let (_, store) = create(&Access::Plain).await;
    for fetch in [false, true] {
        let cache = tempfile::tempdir().unwrap();
        let client = open_cached(&store, cache.path()).await.unwrap();
        if fetch {
            let other = open(&store, &Access::Plain).await.unwrap();
            take(&other, "theirs").await.unwrap();
            client.refresh().await.unwrap();
        } else {
            take(&client, "ours").await.unwrap();
        }
        let rolled = copy(&store).await;
        rolled.delete(&commit_key(client.head())).await.unwrap();
        let error = open_cached(&rolled, cache.path()).await.err().unwrap();
        assert!(matches!(error, Error::RolledBack { .. }), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_history_is_noticed_however_long_it_is() {
    let cache = tempfile::tempdir().unwrap();
    let (repository, store) = create(&Access::Plain).await;
    let id = take(&repository, "one").await.unwrap();
    let fork = copy(&store).await;
    commits(&repository, id, 9).await;
    assert_eq!(open_cached(&store, cache.path()).await.unwrap().head(), 10);
    let writer = open(&fork, &Access::Plain).await.unwrap();
    // Shorter, as long, longer, and so long that a checkpoint sums up what was seen.
    for head in [5, 10, 15, 64, 70, 130] {
        commits(&writer, id, head - writer.head()).await;
        let error = open_cached(&fork, cache.path()).await.err();
        let error = error.unwrap_or_else(|| panic!("a history of {head} commits was taken"));
        assert!(
            matches!(error, Error::RolledBack { seen: 10, .. }),
            "{error}"
        );
    }
    assert_eq!(open_cached(&store, cache.path()).await.unwrap().head(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_another_history_breaks_the_chain() {
    let (repository, store) = create(&Access::Plain).await;
    let fork = copy(&store).await;
    take(&repository, "one").await.unwrap();
    take(&repository, "two").await.unwrap();
    take(&repository, "three").await.unwrap();
    let writer = open(&fork, &Access::Plain).await.unwrap();
    take(&writer, "other").await.unwrap();
    take(&writer, "other").await.unwrap();
    for number in [1, 2] {
        let key = commit_key(number);
        let own = store.get(&key, 1 << 20).await.unwrap();
        replace(&store, &key, fork.get(&key, 1 << 20).await.unwrap()).await;
        let error = open(&store, &Access::Plain).await.err().unwrap();
        let broken = if number == 1 { 2 } else { number };
        assert!(
            matches!(error, Error::BrokenChain { number } if number == broken),
            "{error}"
        );
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        replace(&store, &key, own).await;
    }
    assert_eq!(open(&store, &Access::Plain).await.unwrap().head(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_in_the_log_is_an_error() {
    let (repository, store) = create(&Access::Plain).await;
    let id = take(&repository, "one").await.unwrap();
    commits(&repository, id, 4).await;
    for gap in [1, 3] {
        let key = commit_key(gap);
        let own = store.get(&key, 1 << 20).await.unwrap();
        store.delete(&key).await.unwrap();
        let error = open(&store, &Access::Plain).await.err().unwrap();
        assert!(
            matches!(error, Error::MissingCommit { number } if number == gap),
            "{error}"
        );
        replace(&store, &key, own).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_answers_for_all_commits_before_it() {
    let cache = tempfile::tempdir().unwrap();
    let (repository, store) = create(&Access::Plain).await;
    let id = take(&repository, "one").await.unwrap();
    commits(&repository, id, 65).await;
    assert!(store.get(&checkpoint_key(64), 1 << 20).await.is_ok());
    open_cached(&store, cache.path()).await.unwrap();
    for number in 1..64 {
        store.delete(&commit_key(number)).await.unwrap();
    }
    for opened in [
        open(&store, &Access::Plain).await,
        open_cached(&store, cache.path()).await,
    ] {
        let opened = opened.unwrap();
        assert_eq!(opened.head(), 66);
        assert_eq!(opened.snapshots()[0].tags, ["64"]);
        assert_eq!(content(&opened, &id).await.unwrap(), "one");
    }
    let error = open_cached(&store, cache.path()).await;
    take(&error.unwrap(), "two").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_cannot_be_read_is_passed_over() {
    let (repository, store) = create(&Access::Plain).await;
    let id = take(&repository, "one").await.unwrap();
    commits(&repository, id, 129).await;
    let cache = tempfile::tempdir().unwrap();
    open_cached(&store, cache.path()).await.unwrap();
    // The newest first, then the one before as well: then the log is read from its start.
    for number in [128, 64] {
        let key = checkpoint_key(number);
        let mut bytes = store.get(&key, 1 << 20).await.unwrap().to_vec();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        replace(&store, &key, bytes).await;
        for opened in [
            open(&store, &Access::Plain).await,
            open_cached(&store, cache.path()).await,
        ] {
            let opened = opened.unwrap();
            assert_eq!(opened.head(), 130);
            assert_eq!(opened.snapshots()[0].tags, ["128"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clones_that_commit_at_once_never_forget_each_other() {
    let (repository, store) = create(&Access::Plain).await;
    let mut writers = Vec::new();
    for writer in 0..8 {
        let repository = repository.clone();
        writers.push(tokio::spawn(async move {
            for number in 0..6 {
                let text = format!("{writer} {number}");
                let id = take(&repository, &text).await.unwrap();
                // What a commit added is known to the one who made it.
                assert_eq!(content(&repository, &id).await.unwrap(), text);
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!((repository.head(), repository.snapshots().len()), (48, 48));
    assert_eq!(open(&store, &Access::Plain).await.unwrap().head(), 48);
}
