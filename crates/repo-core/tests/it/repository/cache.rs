//! The cache spares requests and is never trusted.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use repo_core::{Access, CheckOptions, ErrorKind, Quiet};

use super::{content, create, open_cached, replace, take};

fn below(directory: &Path, name: &str) -> PathBuf {
    let mut entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let found = entries.find(|entry| name.is_empty() || entry.file_name() == name);
    found.unwrap().path()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_cached_index_is_fetched_again() {
    let cache = tempfile::tempdir().unwrap();
    let (repository, store) = create(&Access::Plain).await;
    let id = take(&repository, "kept").await.unwrap();
    let opened = open_cached(&store, cache.path()).await.unwrap();
    assert_eq!(content(&opened, &id).await.unwrap(), "kept");
    let copy = below(&below(&below(cache.path(), ""), "index"), "");
    let sound = fs::read(&copy).unwrap();
    let key = format!("index/{}", copy.file_name().unwrap().to_str().unwrap());
    assert!(store.get(&key, 1 << 20).await.unwrap() == sound);

    for at in 0..sound.len() {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x04;
        fs::write(&copy, &bytes).unwrap();
        let opened = open_cached(&store, cache.path()).await.unwrap();
        if at % 2 == 0 {
            assert_eq!(content(&opened, &id).await.unwrap(), "kept", "{at}");
        } else {
            let report = opened
                .check(&CheckOptions::default(), Arc::new(Quiet))
                .await;
            assert_eq!(report.unwrap().findings, [], "{at}");
        }
        assert!(
            fs::read(&copy).unwrap() == sound,
            "{at}: the copy was not mended"
        );
    }

    // What the store holds is damaged as well: that is told, by name.
    let mut bytes = sound.clone();
    bytes[sound.len() / 2] ^= 1;
    fs::write(&copy, &bytes).unwrap();
    replace(&store, &key, bytes).await;
    let opened = open_cached(&store, cache.path()).await.unwrap();
    let error = content(&opened, &id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains(&key), "{error}");
    store.delete(&key).await.unwrap();
    let error = content(&opened, &id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}
