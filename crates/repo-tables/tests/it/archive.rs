//! An archive is read by range, by its documented layout and nothing else.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use repo_core::Quiet;
use repo_tables::{Error, export_archive};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::fixture::{Bucket, repository, take, view};

fn range(file: &File, offset: u64, length: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(length).unwrap()];
    file.read_exact_at(&mut bytes, offset).unwrap();
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The directory of an archive, found from its end.
fn directory(file: &File) -> Value {
    let length = file.metadata().unwrap().len();
    let trailer = range(file, length - 56, 56);
    let number = |at: usize| u64::from_le_bytes(trailer[at..at + 8].try_into().unwrap());
    assert_eq!(&trailer[48..], b"repotbl1");
    assert_eq!(range(file, 0, 8), b"repotbl1");
    let bytes = range(file, number(32), number(40));
    assert_eq!(Sha256::digest(&bytes)[..], trailer[..32]);
    assert_eq!(number(32) + number(40) + 56, length);
    serde_json::from_slice(&bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_read_by_range() {
    let bucket = Bucket::new();
    bucket.table("w/one", 5).await;
    bucket.table("w/two", 3).await;
    let repository = repository().await;
    let taken = take(&repository, &bucket, "w").await.unwrap();
    let view = view(&repository, &taken);
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("tables");
    let archived = export_archive(&view, &[], &path, Arc::new(Quiet));
    let archived = archived.await.unwrap();
    assert_eq!((archived.tables, archived.files), (2, 10));
    let file = File::open(&path).unwrap();
    assert_eq!(archived.bytes, file.metadata().unwrap().len());

    let directory = directory(&file);
    assert_eq!(
        (&directory["layout"], &directory["snapshot"]),
        (&1.into(), &view.id().to_hex().into())
    );
    let data_offset = directory["data_offset"].as_u64().unwrap();
    let mut seen = 0;
    for table in directory["tables"].as_array().unwrap() {
        let name = table["name"].as_str().unwrap();
        for entry in table["file_list"].as_array().unwrap() {
            let (offset, size) = (
                entry["offset"].as_u64().unwrap(),
                entry["size"].as_u64().unwrap(),
            );
            let bytes = range(&file, offset, size);
            let below = entry["path"]
                .as_str()
                .unwrap()
                .strip_prefix("table/")
                .unwrap();
            assert_eq!(bytes, bucket.get(&format!("w/{name}/{below}")).await);
            assert_eq!(entry["sha256"], hex(&Sha256::digest(&bytes)));
            let metadata = entry["kind"] == "commit";
            assert_eq!(metadata, offset < data_offset, "{below}");
            seen += 1;
        }
    }
    assert_eq!(seen, 10);

    let again = export_archive(&view, &[], &path, Arc::new(Quiet));
    assert!(matches!(again.await, Err(Error::Occupied { .. })));
    let only = place.path().join("only");
    let names = ["two".to_owned()];
    let one = export_archive(&view, &names, &only, Arc::new(Quiet));
    assert_eq!(one.await.unwrap().files, 4);
    let left: Vec<_> = std::fs::read_dir(place.path()).unwrap().collect();
    assert_eq!(left.len(), 2, "nothing else is left");
}
