//! A store as under a retention lock: objects are created, and never replaced or deleted.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result,
};

/// Refuses every delete, overwrite, copy and move with "permission denied".
#[derive(Debug, Clone)]
pub struct AppendOnly {
    inner: Arc<dyn ObjectStore>,
}

impl AppendOnly {
    /// Locks `inner` for those who come through here.
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner }
    }
}

fn refused(path: &Path) -> Error {
    Error::PermissionDenied {
        path: path.to_string(),
        source: "the object is locked".into(),
    }
}

impl fmt::Display for AppendOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AppendOnly({})", self.inner)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for AppendOnly {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let overwrites = opts.mode != PutMode::Create;
        let create = PutOptions {
            mode: PutMode::Create,
            ..opts
        };
        match self.inner.put_opts(location, payload, create).await {
            Err(Error::AlreadyExists { .. }) if overwrites => Err(refused(location)),
            outcome => outcome,
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        // Its completion may overwrite, and cannot be seen from here.
        Err(refused(location))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let refuse = |location: Path| async move { Err(refused(&location)) };
        locations.and_then(refuse).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _: &Path, to: &Path, _: CopyOptions) -> Result<()> {
        Err(refused(to))
    }

    async fn rename_opts(&self, from: &Path, _: &Path, _: RenameOptions) -> Result<()> {
        Err(refused(from))
    }
}
