use std::fs;
use std::io::Cursor;
use std::sync::Arc;

use super::IndexObject;
use crate::{Access, CreateOptions, OpenOptions, Quiet, Repository, SnapshotOptions, Store};

/// Of an object that is too large for memory a block is read when it is needed, long after the
/// copy was opened.
#[tokio::test(flavor = "multi_thread")]
async fn a_block_of_a_damaged_copy_is_read_from_the_store() {
    let store = Store::open("memory://", &[]).unwrap();
    let created = Repository::create(store.clone(), &Access::Plain, &CreateOptions::default())
        .await
        .unwrap();
    let options = SnapshotOptions::default();
    let content = Box::new(Cursor::new("content"));
    created
        .snapshot_stream(
            b"file",
            content,
            Box::new(|| Ok(())),
            &options,
            Arc::new(Quiet),
        )
        .await
        .unwrap();
    let cache = tempfile::tempdir().unwrap();
    let cached = OpenOptions {
        cache_dir: Some(cache.path().to_path_buf()),
        ..OpenOptions::default()
    };
    let opened = Repository::open(store, &Access::Plain, &cached)
        .await
        .unwrap();
    let read = opened.blocking(|repository| {
        let (storage, ring) = (&repository.inner.storage, &repository.inner.ring);
        let reference = &repository.state().indexes[0];
        IndexObject::open(storage, ring, reference, &mut 0)?;
        let object = IndexObject::open(storage, ring, reference, &mut 0)?;
        assert!(object.resident.is_none() && object.source.renewable());
        let path = storage.cache().unwrap().join(&object.key);
        let mut bytes = fs::read(&path).unwrap();
        let (offset, _) = object.tail.block_range(0);
        bytes[usize::try_from(offset).unwrap()] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let mut read = 0;
        object.each_block(|block| read += block.len())?;
        assert!(!object.source.renewable());
        assert!(fs::read(&path).unwrap() != bytes);
        Ok(read)
    });
    assert!(read.await.unwrap() > 0);
}
