//! Forgetting: one commit, checked against what other writers did since the plan was made.

use repo_core::{
    Access, AttributeChange, Calendar, Error, ErrorKind, ForgetOptions, ForgetPlan, Forgotten,
    GroupBy, KeepCount, Policy, Repository, Result, SnapshotId, Store, plan_forget,
    plan_forget_ids,
};

use super::{content, create, open, take};

async fn three() -> (Repository, Store, [SnapshotId; 3]) {
    let (repository, store) = create(&Access::Plain).await;
    let mut ids = Vec::new();
    for text in ["one", "two", "three"] {
        ids.push(take(&repository, text).await.unwrap());
    }
    (repository, store, ids.try_into().unwrap())
}

fn plan(repository: &Repository, ids: &[SnapshotId]) -> ForgetPlan {
    plan_forget_ids(&repository.snapshots(), ids, GroupBy::default()).unwrap()
}

async fn forget(repository: &Repository, plan: &ForgetPlan) -> Result<Forgotten> {
    let options = ForgetOptions::default();
    repository.forget(plan, &options, "forget them").await
}

fn ids(repository: &Repository) -> Vec<SnapshotId> {
    let known = repository.snapshots();
    known.iter().map(|known| known.snapshot.id()).collect()
}

async fn protect(repository: &Repository, id: SnapshotId, protected: bool) -> Result<()> {
    let change = AttributeChange {
        tags: None,
        protected: Some(protected),
    };
    repository.change_attributes(&[(id, change)], "tag").await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_policy_does_not_keep_is_forgotten_in_one_commit() {
    let (repository, store, [first, second, third]) = three().await;
    let policy = Policy {
        last: Some(KeepCount::Newest(1)),
        ..Policy::default()
    };
    let by = GroupBy::default();
    let plan = plan_forget(
        &repository.snapshots(),
        &policy,
        by,
        &Calendar::utc(i64::MAX),
    );
    let forgotten = forget(&repository, &plan).await.unwrap();
    assert_eq!(forgotten.removed, [second, first]);
    assert_eq!((forgotten.commit, forgotten.gone), (Some(4), vec![]));
    let opened = open(&store, &Access::Plain).await.unwrap();
    assert_eq!(ids(&opened), [third]);
    assert_eq!(content(&opened, &third).await.unwrap(), "three");
    assert_eq!(
        opened.view(&first).err().unwrap().kind(),
        ErrorKind::NotFound
    );
    let log = opened.log(1).await.unwrap();
    assert_eq!(
        (&*log[0].action, &*log[0].removed),
        ("forget them", &[second, first][..])
    );
    // What is left needs no commit.
    let plan = plan_forget(&opened.snapshots(), &policy, by, &Calendar::utc(i64::MAX));
    assert_eq!(forget(&opened, &plan).await.unwrap(), Forgotten::default());
    assert_eq!(opened.head(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_emptied_only_when_that_is_allowed() {
    let (repository, _, all) = three().await;
    let plan = plan(&repository, &all);
    let error = forget(&repository, &plan).await.unwrap_err();
    assert!(matches!(error, Error::EmptiesGroup { .. }), "{error}");
    assert_eq!((repository.head(), error.kind()), (3, ErrorKind::Denied));
    let options = ForgetOptions { allow_empty: true };
    let forgotten = repository.forget(&plan, &options, "forget").await.unwrap();
    assert_eq!(forgotten.removed.len(), 3);
    assert!(repository.snapshots().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_race_of_two_never_empties_a_group() {
    let (repository, store, [first, second, third]) = three().await;
    let other = open(&store, &Access::Plain).await.unwrap();
    let ours = plan(&repository, &[first, second]);
    // Each of the two leaves one, but not the same.
    let theirs = plan(&other, &[second, third]);
    forget(&other, &theirs).await.unwrap();
    let error = forget(&repository, &ours).await.unwrap_err();
    assert!(matches!(error, Error::Overtaken { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(ids(&open(&store, &Access::Plain).await.unwrap()), [first]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_forgot_first_is_said_and_no_error() {
    let (repository, store, [first, second, third]) = three().await;
    let both = plan(&repository, &[first, second]);
    let one = plan(&repository, &[first]);
    let other = open(&store, &Access::Plain).await.unwrap();
    forget(&other, &one).await.unwrap();
    let forgotten = forget(&repository, &both).await.unwrap();
    let want = Forgotten {
        commit: Some(5),
        removed: vec![second],
        gone: vec![first],
    };
    assert_eq!(forgotten, want);
    // Nothing of it is left to do: no commit.
    let forgotten = forget(&other, &both).await.unwrap();
    let want = Forgotten {
        commit: None,
        removed: vec![],
        gone: vec![second, first],
    };
    assert_eq!(forgotten, want);
    let opened = open(&store, &Access::Plain).await.unwrap();
    assert_eq!((opened.head(), ids(&opened)), (5, vec![third]));
}

#[tokio::test(flavor = "multi_thread")]
async fn protection_given_or_tags_changed_meanwhile_stop_a_forget() {
    let (repository, store, [first, second, _]) = three().await;
    let both = plan(&repository, &[first, second]);
    let other = open(&store, &Access::Plain).await.unwrap();
    protect(&other, second, true).await.unwrap();
    let error = forget(&repository, &both).await.unwrap_err();
    assert!(
        matches!(&error, Error::Protected { id } if *id == second.to_hex()),
        "{error}"
    );
    assert_eq!(repository.snapshots().len(), 3);

    let one = plan(&repository, &[first]);
    other.refresh().await.unwrap();
    let tags = vec!["keep".to_owned()];
    other.retag(&[(first, tags)], "tag").await.unwrap();
    let error = forget(&repository, &one).await.unwrap_err();
    assert!(matches!(error, Error::Overtaken { .. }), "{error}");
    assert_eq!(repository.snapshots().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn protection_outlives_tags_and_checkpoints_and_is_lifted() {
    let (repository, store, [first, ..]) = three().await;
    protect(&repository, first, true).await.unwrap();
    super::commits(&repository, first, 64).await;
    let opened = open(&store, &Access::Plain).await.unwrap();
    let known = opened.snapshots();
    assert_eq!(
        (known[0].is_protected(), &*known[0].tags),
        (true, &["63".to_owned()][..])
    );
    assert!(!known[1].is_protected());
    let refused = plan_forget_ids(&known, &[first], GroupBy::default());
    assert!(matches!(refused.unwrap_err(), Error::Protected { .. }));

    protect(&opened, first, false).await.unwrap();
    let known = opened.snapshots();
    assert_eq!(
        (known[0].protected, &*known[0].tags),
        (None, &["63".to_owned()][..])
    );
    let log = opened.log(66).await.unwrap();
    assert_eq!(
        (&*log[0].unprotected, &*log[0].protected),
        (&[first][..], &[][..])
    );
    assert_eq!(log[65].protected, [first]);
    forget(&opened, &plan(&opened, &[first])).await.unwrap();
    assert_eq!(opened.snapshots().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn forgetting_beside_writers_loses_none_of_theirs() {
    let (repository, store, [first, second, third]) = three().await;
    let writer = open(&store, &Access::Plain).await.unwrap();
    let taken = tokio::spawn(async move {
        let mut taken = Vec::new();
        for number in 0..8 {
            taken.push(take(&writer, &format!("new {number}")).await.unwrap());
        }
        taken
    });
    for id in [first, second] {
        forget(&repository, &plan(&repository, &[id]))
            .await
            .unwrap();
    }
    let mut want = vec![third];
    want.extend(taken.await.unwrap());
    assert_eq!(ids(&open(&store, &Access::Plain).await.unwrap()), want);
}
