//! Takes a snapshot of a directory into a local repository, which is created when it is missing.
//!
//!     cargo run --release -p repo-core --example snapshot -- REPOSITORY DIRECTORY PASSWORD
#![expect(clippy::print_stdout, reason = "an example that shows its result")]

use std::path::PathBuf;
use std::sync::Arc;

use repo_core::{
    Access, CreateOptions, ErrorKind, OpenOptions, Quiet, Repository, SnapshotOptions, Store,
};

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().ok_or("usage: REPOSITORY DIRECTORY PASSWORD");
    let (location, source, password) = (next()?, PathBuf::from(next()?), next()?);
    let access = Access::password(password);
    let store = Store::open(&location, &[])?;
    let open = Repository::open(store.clone(), &access, &OpenOptions::default()).await;
    let repository = match open {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Repository::create(store, &access, &CreateOptions::default()).await?
        }
        other => other?,
    };
    let options = SnapshotOptions {
        host: "example".to_owned(),
        ..SnapshotOptions::default()
    };
    let report = repository
        .snapshot_paths(&[source], &options, Arc::new(Quiet))
        .await?;
    for finding in &report.findings {
        println!("{finding}");
    }
    println!("{:?} {:?}", report.id, report.snapshot.stats);
    Ok(())
}
