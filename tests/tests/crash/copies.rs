//! Copying into a repository that holds something of its own.

use std::sync::Arc;

use futures::FutureExt;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use repo_core::{Access, CopyOptions, Quiet, Repository, Store};
use repo_tests::describe;

use super::driver::{Client, Scenario, State};
use super::scenarios::{Fixture, options, save, write_version};

/// All of them.
pub(crate) async fn all() -> Vec<Scenario> {
    vec![
        copy("copy", &Access::Plain).await,
        copy("copy, encrypted", &Access::password("correct horse")).await,
    ]
}

/// Two snapshots of a repository with other keys are copied, each with a commit of its own. What the
/// first of them holds, the target has stored in part.
async fn copy(name: &'static str, access: &Access) -> Scenario {
    let copy = |client: Client| {
        async move {
            let target = client.open().await?;
            let source = client.other.expect("a repository to copy");
            let options = CopyOptions::default();
            let done = source
                .copy_to(&target, &[], &options, Arc::new(Quiet))
                .await?;
            assert_eq!((done.failed, done.findings), (vec![], vec![]));
            assert_eq!(done.copied.len() + done.present.len(), 2);
            Ok(())
        }
        .boxed()
    };
    let mut fixture = Fixture::new(access, 1).await;
    let tree = fixture.place.path().join("source");
    let memory = Arc::new(InMemory::new()) as Arc<dyn ObjectStore>;
    let store = Store::new(memory, "other");
    let other = Repository::create(store, &Access::Plain, &options()).await;
    let other = other.expect("a repository");
    save(&other, &tree).await.expect("a snapshot");
    write_version(&tree, 2);
    fixture
        .versions
        .push(describe::tree(&tree).expect("the source"));
    save(&other, &tree).await.expect("a snapshot");
    Scenario {
        requests_min: 15,
        other: Some(other),
        ..fixture.scenario(
            name,
            copy,
            &[|state| copied(state, 1), |state| copied(state, 2)],
        )
    }
}

/// A copy that is there is not made again.
fn copied(state: &mut State, version: usize) {
    let copied = (version, Vec::new());
    if !state.snapshots.contains(&copied) {
        state.snapshots.push(copied);
    }
}
