//! Reads a Parquet file inside a snapshot, without restoring it: only the ranges that are needed leave
//! the repository.
//!
//! ```console
//! $ REPO_PASSWORD=... cargo run -p repo-mount --example parquet -- /backups latest tables/orders.parquet
//! ```

use std::error::Error;
use std::sync::Arc;

use futures::TryStreamExt as _;
use object_store::path::Path;
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use parquet::arrow::async_reader::ParquetObjectReader;
use repo_core::{Access, OpenOptions, Repository, Store};
use repo_mount::SnapshotStore;

#[tokio::main(flavor = "multi_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |name: &str| arguments.next().ok_or(format!("{name} is missing"));
    let (location, snapshot, path) = (next("location")?, next("snapshot")?, next("path")?);
    let access = match std::env::var("REPO_PASSWORD") {
        Ok(password) => Access::password(password),
        Err(_) => Access::Plain,
    };
    let store = Store::open(&location, &[])?;
    let repository = Repository::open(store, &access, &OpenOptions::default()).await?;

    let known = repository.snapshots();
    let named = known
        .iter()
        .rev()
        .find(|known| snapshot == "latest" || known.snapshot.id().to_hex().starts_with(&snapshot));
    let named = named.ok_or("no such snapshot")?;
    let view = repository.view(&named.snapshot.id())?;

    let files = Arc::new(SnapshotStore::new(repository.reader(), &view));
    let reader = ParquetObjectReader::new(files, Path::from(path));
    let builder = ParquetRecordBatchStreamBuilder::new(reader).await?;
    for field in builder.schema().fields() {
        println!("{}: {}", field.name(), field.data_type());
    }
    let mut batches = builder.build()?;
    let mut rows = 0;
    while let Some(batch) = batches.try_next().await? {
        rows += batch.num_rows();
    }
    println!("{rows} rows");
    Ok(())
}
