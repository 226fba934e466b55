//! Reads a Parquet file inside a snapshot, without restoring it: only the ranges that are needed leave
//! the repository.
//!
//! ```console
//! $ REPO_PASSWORD=... cargo run -p repo-mount --example parquet -- /backups latest tables/orders.parquet
//! ```

use std::error::Error;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, TryFutureExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use repo_core::{Access, OpenOptions, Repository, Store};
use repo_mount::SnapshotStore;

/// One object of a store, as the `parquet` crate reads it.
pub(crate) struct Object {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) path: Path,
}

fn failed(error: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

impl AsyncFileReader for Object {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        let read = self.store.get_range(&self.path, range);
        read.map_err(failed).boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        let read = async move { self.store.get_ranges(&self.path, &ranges).await };
        read.map_err(failed).boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        async move {
            let size = self.store.head(&self.path).map_err(failed).await?.size;
            let reader = ParquetMetaDataReader::new().with_arrow_reader_options(options);
            reader.load_and_finish(self, size).await.map(Arc::new)
        }
        .boxed()
    }
}

/// Writes the columns and the number of rows of the Parquet file `path` in `snapshot`, which is the
/// start of an id or `latest`.
pub(crate) async fn describe(
    location: &str,
    access: &Access,
    snapshot: &str,
    path: &str,
    out: &mut impl Write,
) -> Result<(), Box<dyn Error>> {
    let store = Store::open(location, &[])?;
    let repository = Repository::open(store, access, &OpenOptions::default()).await?;

    let known = repository.snapshots();
    let named = known
        .iter()
        .rev()
        .find(|known| snapshot == "latest" || known.snapshot.id().to_hex().starts_with(snapshot));
    let named = named.ok_or("no such snapshot")?;
    let view = repository.view(&named.snapshot.id())?;

    let file = Object {
        store: Arc::new(SnapshotStore::new(repository.reader(), &view)),
        path: Path::from(path),
    };
    let builder = ParquetRecordBatchStreamBuilder::new(file).await?;
    for field in builder.schema().fields() {
        writeln!(out, "{}: {}", field.name(), field.data_type())?;
    }
    let mut batches = builder.build()?;
    let mut rows = 0;
    while let Some(batch) = batches.try_next().await? {
        rows += batch.num_rows();
    }
    writeln!(out, "{rows} rows")?;
    Ok(())
}

#[tokio::main(flavor = "multi_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |name: &str| arguments.next().ok_or(format!("{name} is missing"));
    let (location, snapshot, path) = (next("location")?, next("snapshot")?, next("path")?);
    let access = match std::env::var("REPO_PASSWORD") {
        Ok(password) => Access::password(password),
        Err(_) => Access::Plain,
    };
    describe(&location, &access, &snapshot, &path, &mut io::stdout()).await
}
