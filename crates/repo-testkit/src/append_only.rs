//! A store as under a retention lock: objects are created, and never replaced or deleted.

use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, MultipartUpload, ObjectStore, PutMode, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, RenameOptions, Result,
};

use crate::decorator::decorator;

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

decorator!(AppendOnly {
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

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let refuse = |location: Path| async move { Err(refused(&location)) };
        locations.and_then(refuse).boxed()
    }

    async fn copy_opts(&self, _: &Path, to: &Path, _: CopyOptions) -> Result<()> {
        Err(refused(to))
    }

    async fn rename_opts(&self, from: &Path, _: &Path, _: RenameOptions) -> Result<()> {
        Err(refused(from))
    }
});
