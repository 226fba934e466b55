use std::sync::Arc;

use repo_format::{Base, BlobId, BlobKind, Texture};
use repo_store::Store;
use repo_testkit::data::random;

use crate::error::{Error, Result};
use crate::limits::DELTA_DEPTH;
use crate::repository::index::IndexSet;
use crate::repository::{
    Access, CreateOptions, Encoder, Gone, Repository, SegmentWriter, Session, new_session,
};

/// A version of a chunk: each is a byte from the others.
fn version(number: usize) -> Vec<u8> {
    let mut bytes = random(1, 6000);
    bytes[number * 20] ^= 0x55;
    bytes
}

fn id(repository: &Repository, number: usize) -> BlobId {
    let ring = &repository.inner.ring;
    ring.blob_id(BlobKind::Data, &version(number))
}

/// Stores versions in one session, each by itself or against another version at a depth, and puts
/// them in front of what `index` locates.
fn store(
    repository: &Repository,
    index: &IndexSet,
    versions: &[(usize, Option<(usize, u8)>)],
) -> Result<()> {
    let inner = &repository.inner;
    let session = Session::new(
        new_session()?,
        Arc::clone(&inner.ring),
        inner.storage.clone(),
        Arc::new(index.fork()),
        inner.config.pack_size,
        false,
    );
    let mut encoder = Encoder::new(3)?;
    for (number, base) in versions {
        let (chunk, own) = (version(*number), id(repository, *number));
        match base {
            None => {
                let mut writer = SegmentWriter::new(BlobKind::Data, Texture::Mixed, 1);
                writer.push(&session, &mut encoder, own, &chunk)?;
                writer.flush(&session, &mut encoder)?;
            }
            Some((below, depth)) => {
                let base = Base {
                    id: id(repository, *below),
                    depth: *depth,
                };
                let content = version(*below);
                assert!(encoder.delta(&session, own, &chunk, base, &content)?);
            }
        }
    }
    for written in session.finish()?.indexes {
        index.add(&inner.storage, &inner.ring, &written)?;
    }
    Ok(())
}

/// What is read of a version; nothing when its bases do not end.
fn read(repository: &Repository, index: &IndexSet, number: usize) -> Result<Option<Vec<u8>>> {
    let segments = &repository.inner.segments;
    match segments.blob(index, BlobKind::Data, &id(repository, number)) {
        Ok(blob) => Ok(Some(blob.to_vec())),
        Err(Error::MissingBlob { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Runs `test` with an empty repository and an empty index.
async fn with(test: impl FnOnce(&Repository, &IndexSet) -> Result<()> + Send + 'static) {
    let store = Store::open("memory://", &[]).unwrap();
    let repository = Repository::create(store, &Access::Plain, &CreateOptions::default())
        .await
        .unwrap();
    let tested = repository.blocking(move |repository| {
        let inner = &repository.inner;
        let index = IndexSet::open(&inner.storage, &inner.ring, &[], Gone::default(), None)?;
        test(repository, &index)
    });
    tested.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_stands_on_the_one_before_it_until_that_lies_deep() {
    with(|repository, index| {
        store(repository, index, &[(0, None)])?;
        let mut depths = Vec::new();
        for number in 1..40 {
            let before = id(repository, number - 1);
            let (base, content) = repository.inner.segments.delta_base(index, &before)?;
            let stands_on = if base.id == before { number - 1 } else { 0 };
            assert_eq!(base.id, id(repository, stands_on));
            assert!(*content == version(stands_on));
            store(
                repository,
                index,
                &[(number, Some((stands_on, base.depth)))],
            )?;
            depths.push(base.depth);
        }
        let wanted: Vec<u8> = (1..=DELTA_DEPTH).cycle().take(39).collect();
        assert_eq!(depths, wanted);
        for number in 0..40 {
            assert!(read(repository, index, number)?.as_deref() == Some(&version(number)));
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circle_ends_in_an_error() {
    with(|repository, index| {
        for depth in [2, 3] {
            store(repository, index, &[(1, Some((2, depth)))])?;
            store(repository, index, &[(2, Some((1, 2)))])?;
            assert_eq!(read(repository, index, 1)?, None);
            assert_eq!(read(repository, index, 2)?, None);
        }
        // A chunk that is its own base.
        store(repository, index, &[(3, Some((3, 5)))])?;
        assert_eq!(read(repository, index, 3)?, None);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_copies_of_a_base_one_that_lies_higher_serves() {
    with(|repository, index| {
        let versions = [(0, None), (1, None), (2, Some((1, 1)))];
        store(repository, index, &versions)?;
        assert!(read(repository, index, 2)?.is_some());
        let base = Base {
            id: id(repository, 1),
            depth: 1,
        };
        let segments = &repository.inner.segments;
        assert!(segments.holds(index, &base)?);
        // A copy that a look-up finds first, and that is a delta itself.
        store(repository, index, &[(1, Some((0, 1)))])?;
        assert!(!segments.holds(index, &base)?);
        assert!(segments.holds(index, &Base { depth: 2, ..base })?);
        assert!(read(repository, index, 2)?.as_deref() == Some(&version(2)));
        Ok(())
    })
    .await;
}
