//! Golden repositories (`tests/golden`): what version 1 wrote is read by this version and by
//! an independent reader, and comes out as `expected.json` says.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use repo_core::{
    CheckOptions, OpenOptions, Quiet, ReadData, Repository, RestoreOptions, Severity,
    SnapshotOptions, Store,
};
use repo_testkit::tool;
use repo_tests::describe::{self, Described};
use repo_tests::golden::{GOLDEN, Golden, PASSWORD};
use repo_tests::{program::Run, sources};
use tempfile::TempDir;

#[track_caller]
fn same(wanted: &Described, target: &Path) {
    let mut found = describe::tree(target).expect("the target");
    found.remove("");
    let differences = describe::differences(wanted, &found);
    assert!(differences.is_empty(), "{differences:#?}");
}

async fn open(golden: &Golden, place: &Path) -> Repository {
    let location = place.to_str().expect("UTF-8");
    let store = Store::open(location, &[]).expect("a store");
    Repository::open(store, &golden.access(), &OpenOptions::default())
        .await
        .expect("a repository")
}

async fn assert_sound(repository: &Repository) {
    let options = CheckOptions {
        read_data: ReadData::All,
    };
    let report = repository.check(&options, Arc::new(Quiet)).await;
    assert_eq!(report.expect("a check").findings, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn this_version_reads_every_golden_repository() {
    for golden in GOLDEN {
        let place = golden.repository();
        let before = describe::objects(&place).expect("a repository");
        let repository = open(&golden, &place).await;
        assert_eq!(repository.encrypted(), golden.cipher.is_some());
        let snapshots = repository.snapshots();
        assert_eq!(snapshots.len(), golden.set.snapshots.len());
        assert_eq!(snapshots[0].tags, ["kept"]);
        assert_eq!(snapshots[1].snapshot.host, "golden");
        assert_sound(&repository).await;
        for (name, snapshot) in golden.set.snapshots.iter().zip(&snapshots) {
            let view = repository
                .view(&snapshot.snapshot.id())
                .expect("a snapshot");
            let target = TempDir::new().expect("a directory");
            let options = RestoreOptions {
                verify: true,
                ..RestoreOptions::default()
            };
            let report = repository
                .restore(&view, b"", target.path(), &options, Arc::new(Quiet))
                .await
                .expect("a restore");
            // Only the superuser can give files to their owner.
            let superuser = rustix::process::geteuid().is_root();
            let found = report.findings.iter();
            let bad = |severity| severity == Severity::Damage || superuser;
            assert_eq!(found.filter(|f| bad(f.severity)).count(), 0);
            let expected = golden.set.expected(name).expect("expected.json");
            same(&expected, target.path());
        }
        assert_eq!(describe::objects(&place).expect("a repository"), before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn this_version_adds_to_every_golden_repository() {
    for golden in GOLDEN {
        let place = TempDir::new().expect("a directory");
        let copy = place.path().join("repository");
        copy_tree(&golden.repository(), &copy);
        let before = describe::objects(&copy).expect("a repository");
        let source = place.path().join("source");
        fs::create_dir(&source).expect("a directory");
        sources::first(&source).expect("the first version");
        sources::second(&source).expect("the second version");
        let repository = open(&golden, &copy).await;
        let report = repository
            .snapshot_paths(&[source], &SnapshotOptions::default(), Arc::new(Quiet))
            .await
            .expect("a snapshot");
        assert_eq!(report.findings, []);
        let snapshots = golden.set.snapshots.len() + 1;
        assert_eq!(repository.snapshots().len(), snapshots);
        assert_sound(&repository).await;
        // Nothing that was there is touched.
        let after = describe::objects(&copy).expect("a repository");
        assert!(
            before
                .iter()
                .all(|object| after.get(object.0) == Some(object.1))
        );
    }
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            let _length = fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// Python with the packages that the reader needs.
fn python() -> Command {
    Command::new(tool("venv-reader/bin/python"))
}

fn reader(arguments: &[&str]) -> Run {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("reader/reader.py");
    let output = python().arg(script).args(arguments).output();
    Run::of(&output.expect("a run of the reader"))
}

#[test]
fn an_independent_reader_restores_every_golden_repository() {
    for golden in GOLDEN {
        let repository = golden.repository();
        let repository = repository.to_str().expect("UTF-8");
        let password = golden.cipher.map_or("-", |_| PASSWORD);
        let listed = reader(&[repository, password, "list"]).expect(0).stdout;
        let ids: Vec<String> = listed
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .map(|line: serde_json::Value| line["id"].as_str().expect("an id").to_owned())
            .collect();
        assert_eq!(ids.len(), golden.set.snapshots.len());
        for (name, id) in golden.set.snapshots.iter().zip(&ids) {
            let place = TempDir::new().expect("a directory");
            let target = place.path().join("target");
            let shown = target.to_str().expect("UTF-8");
            let _said = reader(&[repository, password, "restore", id, shown]).expect(0);
            same(&golden.set.expected(name).expect("expected.json"), &target);
        }
        if golden.cipher.is_some() {
            let refused = reader(&[repository, "Golden", "list"]).expect(1);
            assert!(refused.stderr.starts_with("error: "), "{}", refused.stderr);
        }
    }
}

#[test]
fn the_independent_reader_reads_every_object_type_and_notices_damage() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("reader/test_tiny.py");
    let output = python()
        .arg(script)
        .arg(env!("CARGO_BIN_EXE_tiny"))
        .output();
    let run = Run::of(&output.expect("a run of the reader's own test")).expect(0);
    assert_eq!(run.stdout.matches("restored").count(), 3, "{}", run.stdout);
}
