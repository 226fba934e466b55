//! Parity: packs that are damaged or lost come back without a second copy.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs;
use std::sync::Arc;

use repo_core::{
    Access, CheckOptions, CreateOptions, ForgetOptions, GcOptions, GroupBy, MaxUnused, OpenOptions,
    ParityOptions, ParityReport, Quiet, RepairOptions, RepairReport, Repository, Store,
    plan_forget_ids,
};
use repo_testkit::data::random;

use crate::repair::{Sample, damage, held, take};

/// Groups of up to four packs, of which any two may be lost.
async fn protect(repository: &Repository) -> ParityReport {
    let options = ParityOptions {
        packs: Some(4),
        shards: Some(2),
        ..ParityOptions::default()
    };
    let done = repository.protect(&options, Arc::new(Quiet)).await;
    done.unwrap()
}

async fn heal(repository: &Repository) -> RepairReport {
    let options = RepairOptions::default();
    let done = repository.repair_parity(&options, Arc::new(Quiet)).await;
    done.unwrap()
}

/// What a check without data says.
async fn told(repository: &Repository) -> Vec<String> {
    let options = CheckOptions::default();
    let report = repository.check(&options, Arc::new(Quiet));
    let findings = report.await.unwrap().findings;
    findings.iter().map(ToString::to_string).collect()
}

/// What may happen to one object.
#[derive(Debug, Clone, Copy)]
enum Harm {
    /// The object is gone.
    Lost,
    /// A bit near the start and one in the middle.
    Bits,
    /// A bit of the header, in clear.
    Header,
    /// The second half is gone.
    Cut,
}

async fn harm(sample: &Sample, key: &str, harm: Harm) {
    if let Harm::Lost = harm {
        sample.store.delete(key).await.unwrap();
        return;
    }
    let change = |bytes: &mut Vec<u8>| {
        let middle = bytes.len() / 2;
        match harm {
            Harm::Header => bytes[20] ^= 1,
            Harm::Cut => bytes.truncate(middle),
            _ => {
                bytes[120] ^= 1;
                bytes[middle] ^= 1;
            }
        }
    };
    sample.harm(key, change).await;
}

/// Protects, harms what `choose` picks out of packs and parity, heals, and compares.
async fn round(access: &Access, choose: impl Fn(&[String], &[String]) -> Vec<(String, Harm)>) {
    let sample = Sample::new(access).await;
    let report = protect(&sample.open(access).await).await;
    assert_eq!(report.findings, []);
    let (packs, parity) = (sample.keys("packs/").await, sample.keys("parity/").await);
    assert_eq!(report.packs_protected, packs.len() as u64);
    assert_eq!(report.groups_made, packs.len().div_ceil(4) as u64);
    assert_eq!(parity.len() as u64, 2 * report.groups_made);
    let repository = sample.open(access).await;
    assert_eq!(told(&repository).await, Vec::<String>::new());
    let chosen = choose(&packs, &parity);
    for (key, what) in &chosen {
        harm(&sample, key, *what).await;
    }
    let harmed = chosen.iter().filter(|(key, _)| key.starts_with("packs/"));
    let harmed = harmed.count() as u64;
    let repository = sample.open(access).await;
    assert!(!damage(&repository).await.is_empty(), "{chosen:?}");
    let report = heal(&repository).await;
    assert_eq!(report.findings, [], "{chosen:?}");
    // More than those where chunks are stored against what was lost.
    assert!(report.packs_harmed >= harmed, "{chosen:?}");
    assert_eq!(report.packs_replaced, report.packs_harmed, "{chosen:?}");
    let repository = sample.open(access).await;
    assert!(held(&repository).await == sample.held, "{chosen:?}");
    // What was stored anew is protected next, and what it replaces covers nothing more.
    let options = ParityOptions {
        verify: true,
        ..ParityOptions::default()
    };
    let report = repository.protect(&options, Arc::new(Quiet)).await.unwrap();
    assert_eq!((report.packs, report.shards, report.packs_unfit), (4, 2, 0));
    assert!(report.groups_made > 0);
    let unfit = told(&repository).await;
    assert!(
        !unfit.iter().any(|told| told.contains("whole parity")),
        "{unfit:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_lost_within_the_limit_comes_back() {
    let (plain, sealed) = (Access::Plain, Access::password("a"));
    for what in [Harm::Lost, Harm::Bits, Harm::Header, Harm::Cut] {
        let two = |packs: &[String], _: &[String]| {
            let two = packs.iter().take(2);
            two.map(|key| (key.clone(), what)).collect::<Vec<_>>()
        };
        round(&plain, two).await;
        let one_and_one = |packs: &[String], parity: &[String]| {
            let other = [(parity[0].clone(), Harm::Bits), (packs[1].clone(), what)];
            other.to_vec()
        };
        round(&sealed, one_and_one).await;
    }
}

/// Each pack at another place: no place of a group is hit more than twice.
#[tokio::test(flavor = "multi_thread")]
async fn bits_may_rot_in_more_packs_than_could_be_lost() {
    let access = Access::Plain;
    let sample = Sample::new(&access).await;
    protect(&sample.open(&access).await).await;
    // Parity makes up for two packs at each place; short ones have the first place only.
    let mut harmed = [0; 4];
    for key in sample.keys("packs/").await {
        sample
            .harm(&key, |bytes| {
                let places = harmed.iter_mut().enumerate().rev();
                let fit = places.filter(|(number, _)| number * 65_536 + 2000 < bytes.len());
                if let Some((number, count)) = { fit }.find(|(_, count)| **count < 2) {
                    bytes[number * 65_536 + 2000] ^= 0x80;
                    *count += 1;
                }
            })
            .await;
    }
    let harmed: i32 = harmed.iter().sum();
    // More than could be lost as a whole.
    assert!(harmed > 2, "{harmed}");
    let repository = sample.open(&access).await;
    assert_eq!(heal(&repository).await.findings, []);
    let repository = sample.open(&access).await;
    assert_eq!(damage(&repository).await, Vec::<String>::new());
    assert!(held(&repository).await == sample.held);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_loss_too_many_is_named() {
    let access = Access::password("a");
    let sample = Sample::new(&access).await;
    let options = ParityOptions {
        packs: Some(32),
        shards: Some(2),
        ..ParityOptions::default()
    };
    let repository = sample.open(&access).await;
    let made = repository.protect(&options, Arc::new(Quiet)).await.unwrap();
    assert_eq!(made.groups_made, 1);
    let packs = sample.keys("packs/").await;
    for key in &packs[..3] {
        sample.store.delete(key).await.unwrap();
    }
    let repository = sample.open(&access).await;
    let report = heal(&repository).await;
    let told: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    for key in &packs[..3] {
        let named = |told: &&String| told.starts_with(key) && told.contains("cannot be rebuilt");
        let named = told
            .iter()
            .find(named)
            .unwrap_or_else(|| panic!("{told:?}"));
        assert!(packs[..3].iter().all(|key| named.contains(key)), "{named}");
        assert!(named.contains("makes up for 2"), "{named}");
    }
    // Their index entries stay, so that they count when they come back.
    let repository = sample.open(&access).await;
    assert!(!damage(&repository).await.is_empty());
}

/// A repository of a few short packs.
async fn small(access: &Access, files: &std::path::Path) -> Sample {
    let store = Store::open("memory://", &[]).unwrap();
    let options = CreateOptions {
        segment_size: Some(1000),
        pack_size: Some(1000),
        ..CreateOptions::default()
    };
    let repository = Repository::create(store.clone(), access, &options).await;
    let repository = repository.unwrap();
    for number in 0..2 {
        fs::write(files.join(format!("{number}")), random(number, 700)).unwrap();
    }
    take(&repository, files).await;
    let held = held(&repository).await;
    Sample { store, held }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_byte_of_a_small_group_heals() {
    let files = tempfile::tempdir().unwrap();
    let access = Access::Plain;
    let sample = small(&access, files.path()).await;
    let options = ParityOptions {
        shards: Some(1),
        ..ParityOptions::default()
    };
    let repository = sample.open(&access).await;
    repository.protect(&options, Arc::new(Quiet)).await.unwrap();
    let mut all = std::collections::BTreeMap::new();
    for prefix in ["config", "log/", "index/", "packs/", "parity/"] {
        for key in sample.keys(prefix).await {
            let bytes = sample.store.get(&key, 1 << 20).await.unwrap();
            all.insert(key, bytes);
        }
    }
    let config = sample.store.get("config", 1 << 20).await.unwrap();
    all.insert("config".to_owned(), config);
    let (mut flipped, mut healed) = (0, 0);
    for (key, bytes) in &all {
        if !key.starts_with("packs/") && !key.starts_with("parity/") {
            continue;
        }
        // Every byte once, ten at a time: a place in each tenth of the object.
        let step = bytes.len().div_ceil(10);
        for at in 0..step {
            let store = Store::open("memory://", &[]).unwrap();
            for (other, bytes) in &all {
                let mut bytes = bytes.to_vec();
                if other == key {
                    for byte in bytes.iter_mut().skip(at).step_by(step) {
                        *byte ^= 0x20;
                        flipped += 1;
                    }
                }
                store.put_new(other, bytes.into()).await.unwrap();
            }
            let options = OpenOptions::default();
            let open = Repository::open(store, &access, &options);
            let repository = open.await.unwrap();
            assert!(!damage(&repository).await.is_empty(), "{key} {at}");
            let report = heal(&repository).await;
            assert_eq!(report.findings, [], "{key} {at}");
            healed += report.packs_replaced;
            assert!(held(&repository).await == sample.held, "{key} {at}");
        }
    }
    assert!(flipped > 3000 && healed > 150, "{flipped} {healed}");
}

fn at_once() -> GcOptions {
    GcOptions {
        max_unused: MaxUnused::Bytes(0),
        reader_grace_ms: 0,
        writer_grace_ms: 0,
        ..GcOptions::default()
    }
}

async fn forget_oldest(repository: &Repository, count: usize) {
    let snapshots = repository.snapshots();
    let ids: Vec<_> = snapshots[..count].iter().map(|s| s.snapshot.id()).collect();
    let plan = plan_forget_ids(&snapshots, &ids, GroupBy::default()).unwrap();
    let options = ForgetOptions::default();
    repository.forget(&plan, &options, "forget").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_makes_parity_for_what_stays() {
    let access = Access::Plain;
    let sample = Sample::new(&access).await;
    let repository = sample.open(&access).await;
    protect(&repository).await;
    let before = sample.keys("parity/").await;
    forget_oldest(&repository, 2).await;
    let sample = Sample {
        held: held(&repository).await,
        store: sample.store,
    };
    let report = repository.gc(&at_once(), Arc::new(Quiet)).await.unwrap();
    assert!(report.swept.objects > 0, "{report:?}");
    let parity = report.parity.unwrap();
    assert_eq!((parity.packs, parity.shards, parity.packs_unfit), (4, 2, 0));
    assert!(parity.groups_made > 0 && parity.deleted > 0, "{parity:?}");
    assert_eq!(told(&repository).await, Vec::<String>::new());
    assert!(sample.keys("parity/").await != before);
    for key in sample.keys("packs/").await.iter().take(2) {
        sample.store.delete(key).await.unwrap();
    }
    let repository = sample.open(&access).await;
    assert_eq!(heal(&repository).await.findings, []);
    assert!(held(&repository).await == sample.held);
}

/// Bits rotted in a pack before its group was made again: it is told, the old group stays, and so
/// do the packs that help to rebuild it.
#[tokio::test(flavor = "multi_thread")]
async fn damage_is_not_protected_and_keeps_its_group() {
    let access = Access::Plain;
    let sample = Sample::new(&access).await;
    let repository = sample.open(&access).await;
    let options = ParityOptions {
        packs: Some(32),
        shards: Some(1),
        ..ParityOptions::default()
    };
    repository.protect(&options, Arc::new(Quiet)).await.unwrap();
    let old = sample.keys("parity/").await;
    forget_oldest(&repository, 2).await;
    let left = held(&repository).await;
    let plan = GcOptions {
        dry_run: true,
        ..at_once()
    };
    let plan = repository.gc(&plan, Arc::new(Quiet)).await.unwrap();
    assert!(plan.swept.objects > 0, "{plan:?}");
    // A pack that stays: one that the plan neither drops nor copies is found by trying.
    let mut tried = 0;
    for key in sample.keys("packs/").await {
        let store = Store::open("memory://", &[]).unwrap();
        for key in ["log/", "index/", "packs/", "parity/"] {
            for key in sample.keys(key).await {
                let bytes = sample.store.get(&key, 1 << 30).await.unwrap();
                store.put_new(&key, bytes).await.unwrap();
            }
        }
        let config = sample.store.get("config", 1 << 20).await.unwrap();
        store.put_new("config", config).await.unwrap();
        let copy = Sample {
            store,
            held: left.clone(),
        };
        copy.harm(&key, |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        })
        .await;
        let repository = copy.open(&access).await;
        // A collector that has to read what is damaged ends before it condemns anything.
        let Ok(report) = repository.gc(&at_once(), Arc::new(Quiet)).await else {
            continue;
        };
        let parity = report.parity.as_ref().unwrap();
        if parity.packs_unfit == 0 {
            continue;
        }
        tried += 1;
        assert!(
            parity
                .findings
                .iter()
                .any(|found| found.message.contains(&key))
        );
        assert_eq!(report.swept.objects, 0, "{report:?}");
        assert!(report.waiting.objects > 0, "{report:?}");
        let now = copy.keys("parity/").await;
        assert!(old.iter().all(|key| now.contains(key)));
        let repository = copy.open(&access).await;
        assert_eq!(heal(&repository).await.findings, []);
        assert!(held(&repository).await == copy.held);
        // Healed, it holds nothing up.
        let report = repository.gc(&at_once(), Arc::new(Quiet)).await.unwrap();
        assert!(report.swept.objects > 0, "{report:?}");
        assert_eq!(damage(&repository).await, Vec::<String>::new());
    }
    assert!(tried > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_protected_is_left_alone_and_what_is_new_is_added() {
    let files = tempfile::tempdir().unwrap();
    let access = Access::Plain;
    let sample = small(&access, files.path()).await;
    let repository = sample.open(&access).await;
    let plan = ParityOptions {
        packs: Some(4),
        dry_run: true,
        ..ParityOptions::default()
    };
    let planned = repository.protect(&plan, Arc::new(Quiet)).await.unwrap();
    assert!(planned.groups_made > 0 && planned.bytes_written > 0);
    assert_eq!(sample.keys("parity/").await, Vec::<String>::new());
    let made = protect(&repository).await;
    assert_eq!(made.groups_made, planned.groups_made);
    let first = sample.keys("parity/").await;
    let options = ParityOptions::default();
    let same = repository.protect(&options, Arc::new(Quiet));
    let same = same.await.unwrap();
    assert_eq!((same.groups_kept, same.groups_made), (made.groups_made, 0));
    assert_eq!(same.bytes_kept, made.bytes_written);
    assert_eq!(sample.keys("parity/").await, first);

    fs::write(files.path().join("new"), random(9, 900)).unwrap();
    take(&repository, files.path()).await;
    let notes = told(&repository).await;
    assert!(
        notes.len() == 1 && notes[0].contains("in no whole parity group"),
        "{notes:?}"
    );
    let added = protect(&repository).await;
    assert_eq!(
        added.packs_protected,
        sample.keys("packs/").await.len() as u64
    );
    assert_eq!(told(&repository).await, Vec::<String>::new());

    // Damaged parity costs no data. It is named, and made anew when it is looked for.
    let key = sample.keys("parity/").await.remove(0);
    sample.harm(&key, |bytes| bytes[150] ^= 1).await;
    let repository = sample.open(&access).await;
    assert_eq!(told(&repository).await, Vec::<String>::new());
    let found = damage(&repository).await;
    assert!(found.len() == 1 && found[0].starts_with(&key), "{found:?}");
    let verify = ParityOptions {
        verify: true,
        ..ParityOptions::default()
    };
    let report = repository.protect(&verify, Arc::new(Quiet)).await.unwrap();
    assert_eq!((report.groups_made, report.findings.len()), (1, 1));
    assert_eq!(report.packs_protected, added.packs_protected);
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_out_of_range_are_refused() {
    let files = tempfile::tempdir().unwrap();
    let sample = small(&Access::Plain, files.path()).await;
    let repository = sample.open(&Access::Plain).await;
    for (packs, shards) in [
        (Some(0), None),
        (Some(33), None),
        (None, Some(0)),
        (None, Some(17)),
    ] {
        let options = ParityOptions {
            packs,
            shards,
            ..ParityOptions::default()
        };
        let error = repository
            .protect(&options, Arc::new(Quiet))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), repo_core::ErrorKind::Invalid);
    }
}
