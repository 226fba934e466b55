//! Damaged and missing packs: everything else is restored, and the report says what is not.

use std::fs;

use futures::TryStreamExt;
use repo_core::{Severity, Store};
use repo_testkit::data::{random, text};

use super::describe::describe;
use super::{PLAIN, VERIFY, repository, restore, take};

async fn packs(store: &Store) -> Vec<(String, bytes::Bytes)> {
    let listed: Vec<_> = store
        .list("packs/", None)
        .await
        .try_collect()
        .await
        .unwrap();
    let mut packs = Vec::new();
    for info in listed {
        let bytes = store.get(&info.key, 1 << 30).await.unwrap();
        packs.push((info.key, bytes));
    }
    packs
}

async fn set(store: &Store, key: &str, bytes: Option<bytes::Bytes>) {
    store.delete(key).await.unwrap();
    if let Some(bytes) = bytes {
        store.put_new(key, bytes).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_harmed_pack_costs_only_what_it_held() {
    let source = tempfile::tempdir().unwrap();
    for number in 0..40u64 {
        let content = if number % 4 == 0 {
            random(number, 150_000)
        } else {
            text(number, 20_000)
        };
        fs::write(source.path().join(format!("{number:02}")), content).unwrap();
    }
    fs::write(source.path().join("long"), random(99, 6 << 20)).unwrap();
    let (repository, store) = repository().await;
    let view = take(&repository, source.path()).await;
    let wanted = describe(source.path());
    let packs = packs(&store).await;
    assert!(packs.len() > 3);
    let mut harmed = 0;
    for (key, bytes) in &packs {
        let mut flipped = bytes.to_vec();
        flipped[bytes.len() / 3] ^= 4;
        let cut = bytes.slice(..bytes.len() / 2);
        for harm in [None, Some(flipped.into()), Some(cut)] {
            set(&store, key, harm).await;
            let target = tempfile::tempdir().unwrap();
            // A tree that cannot be read is told apart; here only content matters.
            let done = repository
                .restore(
                    &view,
                    b"",
                    target.path(),
                    &PLAIN,
                    std::sync::Arc::new(repo_core::Quiet),
                )
                .await;
            set(&store, key, Some(bytes.clone())).await;
            let Ok(report) = done else { continue };
            let found = describe(target.path());
            for (path, line) in &wanted {
                let told = report.findings.iter().any(|finding| {
                    finding.severity == Severity::Damage
                        && finding
                            .path
                            .as_ref()
                            .is_none_or(|told| told == path || told.is_empty())
                });
                assert!(
                    found.get(path) == Some(line) || told,
                    "{}",
                    path.escape_ascii()
                );
            }
            let named = report.findings.iter().any(|finding| {
                finding.message.contains("chunk ") && finding.message.contains("in pack ")
            });
            harmed += u32::from(named);
            // Mended, the same target is completed.
            let report = restore(&repository, &view, target.path(), &VERIFY).await;
            assert_eq!(report.findings, []);
            assert_eq!(describe(target.path()), wanted);
        }
    }
    assert!(harmed > 5, "{harmed}");
}
