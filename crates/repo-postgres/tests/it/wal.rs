//! The archive of WAL with segments that no server wrote: only their headers are real.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use repo_core::{
    Access, BuildOptions, CreateOptions, Entry, EntryType, OpenOptions, PathBytes, Quiet,
    Repository, SnapshotId, SnapshotOptions, Store,
};
use repo_postgres::wal::{self, Error, Request, Segment, Spool, WalFile};
use tempfile::TempDir;

const SYSTEM: u64 = 7_000_000_000_000_000_007;
const SIZE: u64 = 1 << 20;
const PASSWORD: &str = "correct horse";

/// A data directory with nothing but WAL.
struct Cluster {
    place: TempDir,
    system: u64,
}

impl Cluster {
    fn new() -> Self {
        Self::of(SYSTEM)
    }

    fn of(system: u64) -> Self {
        let place = tempfile::tempdir().expect("a directory");
        for directory in ["global", "pg_wal/archive_status"] {
            std::fs::create_dir_all(place.path().join(directory)).expect("a directory");
        }
        let control = place.path().join("global/pg_control");
        std::fs::write(control, system.to_le_bytes()).expect("a file");
        Self { place, system }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join("pg_wal").join(name)
    }

    fn spool(&self) -> Spool {
        Spool::new(&self.place.path().join("spool"), "there")
    }

    /// Writes a segment that waits to be archived.
    fn write(&self, timeline: u32, number: u64, content: u8) -> String {
        let name = name(timeline, number);
        self.put(&name, &segment(self.system, timeline, number, content));
        name
    }

    fn put(&self, name: &str, content: &[u8]) {
        std::fs::write(self.path(name), content).expect("a file");
        let ready = self.path(&format!("archive_status/{name}.ready"));
        std::fs::write(ready, b"").expect("a file");
    }

    /// Postgres has taken 0 for an answer.
    fn archived(&self, name: &str) {
        std::fs::remove_file(self.path(&format!("archive_status/{name}.ready"))).expect("ready");
        std::fs::remove_file(self.path(name)).expect("a segment");
    }

    fn request(&self, name: &str) -> Request {
        Request::new(&self.path(name), None).expect("a file to archive")
    }

    async fn push(&self, repository: &Repository, name: &str) -> wal::Result<wal::PushReport> {
        let options = SnapshotOptions::default();
        wal::push(
            repository,
            &self.request(name),
            Some(&self.spool()),
            &options,
        )
        .await
    }

    async fn get(&self, repository: &Repository, name: &str) -> wal::Result<Option<Vec<u8>>> {
        let target = self.path("RECOVERYXLOG");
        let file = name.parse().expect("a name");
        if !wal::fetch(repository, self.system, file, &target).await? {
            return Ok(None);
        }
        let content = std::fs::read(&target).expect("what was fetched");
        std::fs::remove_file(&target).expect("it is there");
        Ok(Some(content))
    }
}

fn name(timeline: u32, number: u64) -> String {
    Segment::holding(timeline, number * SIZE, SIZE).to_string()
}

/// A segment with a right header and a content that does not compress to nothing.
fn segment(system: u64, timeline: u32, number: u64, content: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&0xD110_u16.to_le_bytes());
    bytes.extend_from_slice(&2_u16.to_le_bytes());
    bytes.extend_from_slice(&timeline.to_le_bytes());
    bytes.extend_from_slice(&(number * SIZE).to_le_bytes());
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&system.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(SIZE).expect("fits").to_le_bytes());
    bytes.extend_from_slice(&8192_u32.to_le_bytes());
    let mut state = number.wrapping_mul(977) ^ u64::from(content);
    while bytes.len() < usize::try_from(SIZE).expect("fits") {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        bytes.push(state.to_le_bytes()[7]);
    }
    bytes
}

async fn in_memory() -> Repository {
    let store = Store::open("memory://", &[]).expect("a store");
    Repository::create(store, &Access::Plain, &CreateOptions::default())
        .await
        .expect("a repository")
}

fn snapshots(repository: &Repository) -> usize {
    repository.snapshots().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_pushed_in_one_commit_and_acknowledged_once() {
    let (cluster, repository) = (Cluster::new(), in_memory().await);
    let names: Vec<String> = (1..=5).map(|number| cluster.write(1, number, 0)).collect();
    let head = repository.head();
    let report = cluster.push(&repository, &names[0]).await.expect("pushed");
    assert_eq!(report.archived.len(), 5);
    assert_eq!(repository.head(), head + 1, "one commit");
    for name in &names[1..] {
        let request = cluster.request(name);
        assert!(cluster.spool().take_acknowledged(&request).expect("read"));
        assert!(
            !cluster.spool().take_acknowledged(&request).expect("read"),
            "only once"
        );
    }
    let own = cluster.request(&names[0]);
    assert!(
        !cluster.spool().take_acknowledged(&own).expect("read"),
        "it was answered"
    );
    for (number, name) in (1..).zip(&names) {
        let content = cluster.get(&repository, name).await.expect("read");
        assert_eq!(content, Some(segment(SYSTEM, 1, number, 0)));
    }
    assert_eq!(
        cluster.get(&repository, &name(1, 6)).await.expect("read"),
        None
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_is_of_one_content_and_one_repository() {
    let (cluster, repository) = (Cluster::new(), in_memory().await);
    let (first, second) = (cluster.write(1, 1, 0), cluster.write(1, 2, 0));
    cluster.push(&repository, &first).await.expect("pushed");
    let elsewhere = Spool::new(&cluster.place.path().join("spool"), "elsewhere");
    let request = cluster.request(&second);
    assert!(!elsewhere.take_acknowledged(&request).expect("read"));
    cluster.put(&second, &segment(SYSTEM, 1, 2, 1));
    assert!(!cluster.spool().take_acknowledged(&request).expect("read"));
    let refused = cluster.push(&repository, &second).await;
    assert!(matches!(refused, Err(Error::Differs { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_again_is_archived_and_other_content_is_refused() {
    let (cluster, repository) = (Cluster::new(), in_memory().await);
    let first = cluster.write(1, 1, 0);
    cluster.push(&repository, &first).await.expect("pushed");
    let head = repository.head();
    let again = cluster.push(&repository, &first).await.expect("the same");
    assert_eq!((again.present, repository.head()), (1, head), "no commit");

    cluster.write(1, 1, 1);
    let second = cluster.write(1, 2, 0);
    let refused = cluster.push(&repository, &first).await;
    assert!(matches!(refused, Err(Error::Differs { .. })), "{refused:?}");
    let kept = cluster.get(&repository, &first).await.expect("read");
    assert_eq!(kept, Some(segment(SYSTEM, 1, 1, 0)));
    // What is refused does not hold up what comes after it.
    let report = cluster.push(&repository, &second).await.expect("pushed");
    assert_eq!(
        report.archived,
        [second.parse::<WalFile>().expect("a name")]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_wal_of_the_cluster_is_refused() {
    let (cluster, repository) = (Cluster::new(), in_memory().await);
    let good = cluster.write(1, 1, 0);
    for (bad, content) in [
        (name(1, 2), segment(SYSTEM, 1, 3, 0)),
        (name(1, 3), segment(SYSTEM + 1, 1, 3, 0)),
        (name(1, 4), segment(SYSTEM, 1, 4, 0)[..1000].to_vec()),
        (name(1, 5), vec![0; usize::try_from(SIZE).expect("fits")]),
    ] {
        cluster.put(&bad, &content);
        assert!(cluster.push(&repository, &bad).await.is_err(), "{bad}");
    }
    let report = cluster.push(&repository, &good).await.expect("pushed");
    assert_eq!((report.archived.len(), report.refused.len()), (1, 4));
    assert!(Request::new(&cluster.path("archive_status"), None).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn timelines_histories_and_labels_have_their_places() {
    let (cluster, repository) = (Cluster::new(), in_memory().await);
    let old = cluster.write(1, 1, 0);
    // A timeline begins with a copy of the segment it branched in.
    let branched = name(2, 1);
    cluster.put(&branched, &segment(SYSTEM, 1, 1, 9));
    cluster.put(
        "00000002.history",
        b"1\t0/100028\tno recovery target specified\n",
    );
    cluster.put(&format!("{old}.partial"), &segment(SYSTEM, 1, 1, 8));
    cluster.put(&format!("{old}.00000028.backup"), b"START WAL LOCATION");
    let report = cluster.push(&repository, &old).await.expect("pushed");
    assert_eq!(report.archived.len(), 5);
    assert_eq!(snapshots(&repository), 3, "two timelines and the histories");
    let got = async |name: &str| cluster.get(&repository, name).await.expect("read");
    assert_eq!(got(&old).await, Some(segment(SYSTEM, 1, 1, 0)));
    assert_eq!(got(&branched).await, Some(segment(SYSTEM, 1, 1, 9)));
    let partial = got(&format!("{old}.partial")).await;
    assert_eq!(partial, Some(segment(SYSTEM, 1, 1, 8)));
    assert!(got("00000002.history").await.is_some());
    assert!(got("00000003.history").await.is_none());

    let other = Cluster::of(SYSTEM + 1);
    assert_eq!(other.get(&repository, &old).await.expect("read"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_pushes_leave_few_snapshots() {
    let (cluster, repository) = (Cluster::new(), in_memory().await);
    let per_volume = (4 << 30) / SIZE;
    // Over the border of two volumes.
    let numbers = per_volume - 15..per_volume + 5;
    for number in numbers.clone() {
        let name = cluster.write(1, number, 0);
        cluster.push(&repository, &name).await.expect("pushed");
        cluster.archived(&name);
    }
    let known = repository.snapshots();
    let volumes: BTreeSet<_> = known
        .iter()
        .map(|known| known.snapshot.paths.clone())
        .collect();
    assert_eq!(volumes.len(), 2);
    assert!(known.len() <= 1 + 9, "{} snapshots", known.len());
    for number in numbers {
        let content = cluster
            .get(&repository, &name(1, number))
            .await
            .expect("read");
        assert_eq!(content, Some(segment(SYSTEM, 1, number, 0)), "{number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_are_fetched_ahead_and_no_others_are_kept() {
    let (cluster, repository) = (Cluster::new(), in_memory().await);
    for number in 1..=6 {
        cluster.write(1, number, 0);
    }
    cluster
        .push(&repository, &name(1, 1))
        .await
        .expect("pushed");
    let (spool, target) = (cluster.spool(), cluster.path("RECOVERYXLOG"));
    let file = |number: u64| name(1, number).parse::<WalFile>().expect("a name");
    let ahead = async |number| {
        wal::fetch_ahead(&repository, SYSTEM, file(number), &spool, 3)
            .await
            .expect("fetched");
    };
    ahead(1).await;
    for number in 2..=4 {
        assert!(
            spool
                .take_fetched(SYSTEM, file(number), &target)
                .expect("read")
        );
        let content = std::fs::read(&target).expect("a segment");
        assert_eq!(content, segment(SYSTEM, 1, number, 0));
    }
    assert!(!spool.take_fetched(SYSTEM, file(5), &target).expect("read"));
    ahead(1).await;
    ahead(4).await;
    let kept = files_below(&cluster.place.path().join("spool"));
    let kept: Vec<_> = kept.iter().filter(|path| path.contains("/get/")).collect();
    assert_eq!(kept.len(), 2, "the archive ends after them: {kept:?}");
    // A spoilt one is fetched again.
    for path in kept {
        std::fs::write(path, b"spoilt").expect("a file");
    }
    assert!(!spool.take_fetched(SYSTEM, file(5), &target).expect("read"));
}

fn files_below(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path.to_str().expect("UTF-8").to_owned());
        }
    }
    found
}

/// Servers that believe to be the same one push at once. Whatever is said to be archived is there for
/// ever, with the content of which it was said.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_servers_push_other_bytes_and_the_first_one_counts() {
    let place = tempfile::tempdir().expect("a directory");
    let location = place.path().to_str().expect("UTF-8");
    let open = || Store::open(location, &[]).expect("a store");
    let access = Access::password(PASSWORD);
    let made = Repository::create(open(), &access, &CreateOptions::default())
        .await
        .expect("a repository");
    for round in 1..=12_u64 {
        let mut pushes = Vec::new();
        for server in 0..4_u8 {
            let repository = made.reopen(open(), &OpenOptions::default()).await;
            let repository = repository.expect("opened");
            pushes.push(tokio::spawn(async move {
                let cluster = Arc::new(Cluster::new());
                // Two of them have the same content.
                let name = cluster.write(1, round, server / 2);
                (server / 2, cluster.push(&repository, &name).await)
            }));
        }
        let mut archived = BTreeSet::new();
        for push in pushes {
            match push.await.expect("no panic") {
                (content, Ok(_)) => drop(archived.insert(content)),
                (_, Err(Error::Differs { .. })) => {}
                (_, Err(error)) => panic!("{error}"),
            }
        }
        assert_eq!(archived.len(), 1, "round {round}");
        made.refresh().await.expect("read on");
        let content = archived.first().expect("one");
        let cluster = Cluster::new();
        for (number, content) in [(round, *content)] {
            let got = cluster.get(&made, &name(1, number)).await.expect("read");
            assert_eq!(got, Some(segment(SYSTEM, 1, number, content)));
        }
    }
    assert!(snapshots(&made) <= 12, "{} snapshots", snapshots(&made));
}

/// A snapshot that says it is of a cluster, which needs WAL from a position on.
async fn cluster_snapshot(repository: &Repository, host: &str, start: &str) -> SnapshotId {
    let what = BuildOptions {
        kind: "postgres",
        paths: vec![PathBytes(b"/data".to_vec())],
        restart: false,
    };
    let options = SnapshotOptions {
        host: host.to_owned(),
        ..SnapshotOptions::default()
    };
    let text = serde_json::json!({
        "format": 1, "system_identifier": SYSTEM.to_string(), "version": 150_004,
        "catalog_version": 202_209_061, "timeline": 1, "start_lsn": start, "stop_lsn": start,
        "standby": false, "checksums": true, "block_size": 8192, "segment_blocks": 131_072,
        "wal_segment_size": SIZE, "pgdata": "/data", "wal": [], "tablespaces": [], "databases": [],
        "corrupt_pages": [], "more": 1,
    })
    .to_string();
    let built = repository.build_snapshot::<repo_core::Error, _>(
        what,
        &options,
        Arc::new(Quiet),
        move |builder| {
            let entry = Entry::new(Vec::new(), EntryType::File);
            builder.store(b".repo/postgres.json", entry, &mut text.as_bytes(), None)?;
            Ok(())
        },
    );
    built.await.expect("a snapshot").id.expect("an id")
}

#[tokio::test(flavor = "multi_thread")]
async fn wal_goes_when_no_snapshot_of_its_cluster_needs_it() {
    let (cluster, repository) = (Cluster::new(), in_memory().await);
    let per_volume = (4 << 30) / SIZE;
    for volume in 0..4 {
        let name = cluster.write(1, volume * per_volume + 1, 0);
        cluster.push(&repository, &name).await.expect("pushed");
        cluster.archived(&name);
    }
    let other = Cluster::of(SYSTEM + 1);
    other
        .push(&repository, &other.write(1, 1, 0))
        .await
        .expect("pushed");
    let expired = async |going: &[SnapshotId]| {
        let going = going.iter().copied().collect();
        let expired = wal::expired(&repository, &going).await.expect("read");
        expired.len()
    };
    assert_eq!(expired(&[]).await, 0, "nothing says what is needed");
    let first = cluster_snapshot(&repository, "a", "1/FFFFFFF0").await;
    let second = cluster_snapshot(&repository, "b", "3/0").await;
    assert_eq!(expired(&[]).await, 1);
    assert_eq!(expired(&[first]).await, 3);
    assert_eq!(expired(&[second]).await, 1);
    assert_eq!(expired(&[first, second]).await, 0);

    let going = BTreeSet::from([first]);
    let ids = wal::expired(&repository, &going).await.expect("read");
    wal::expire(&repository, &ids, "test")
        .await
        .expect("forgotten");
    let left = wal::ranges(&repository, Some(SYSTEM)).await.expect("read");
    let starts: Vec<u64> = left[0].ranges.iter().map(|range| range.start).collect();
    assert_eq!(starts, [(3 << 32) + SIZE]);
    assert!(wal::knows(&repository, SYSTEM + 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn gaps_are_found() {
    let (cluster, repository) = (Cluster::new(), in_memory().await);
    for (timeline, number) in [(1, 3), (1, 4), (1, 6), (2, 4), (2, 5)] {
        cluster.write(timeline, number, 0);
    }
    cluster
        .push(&repository, &name(1, 3))
        .await
        .expect("pushed");
    let found = wal::ranges(&repository, None).await.expect("read");
    let gaps: Vec<Vec<_>> = found.iter().map(|found| found.gaps().collect()).collect();
    assert_eq!(gaps, [vec![(5 * SIZE, 6 * SIZE)], vec![]]);
    assert_eq!(found[0].reach(3 * SIZE + 17), Some(5 * SIZE));
    assert_eq!(
        found[1].ranges[0].to_string(),
        format!("{} to {}", name(2, 4), name(2, 5))
    );
}
