//! A snapshot of a cluster that is reached over the network only: the server sends its files, and they
//! are stored as they come.
//!
//! The tree is the one of a snapshot with access to the files: the data directory in the root, each
//! tablespace below `pg_tblspc`, what is known about the cluster below `.repo`; there lies the server's
//! own manifest, too.

use std::io::{self, Read};
use std::sync::Arc;

use repo_core::{
    BuildOptions, Builder, Entry, EntryType, PathBytes, Progress, Repository, SnapshotOptions,
    SnapshotReport, Timestamp,
};
use serde::Serialize;
use tokio_postgres::Config;

use crate::stream::archive::{Part, Parts};
use crate::stream::client::{Client, Mode, Row};
use crate::stream::error::{Error, Result};
use crate::stream::tar::{BLOCK, Header, Kind};

/// Kind of source that snapshots of clusters record.
const KIND: &str = "postgres";
/// Path of the description of the cluster.
const DESCRIPTION: &str = ".repo/postgres.json";
/// Path of the list of relations, which a server does not give over this protocol.
const RELATIONS: &str = ".repo/relations.jsonl";
/// Path of the server's own list of files.
const MANIFEST: &str = ".repo/backup_manifest";
/// The file that says what the cluster is.
const CONTROL: &str = "global/pg_control";
/// Longest `pg_control`, in bytes.
const CONTROL_MAX: u64 = 64 << 10;
/// Names of segments that a description lists; a backup that needs more WAL is refused.
const SEGMENTS_MAX: usize = 1 << 20;
/// SQLSTATE of a server that found wrong checksums while it sent.
const DATA_CORRUPTED: &str = "XX001";

/// What to ask of a server.
#[derive(Debug, Clone)]
pub struct StreamOptions {
    /// How to reach it.
    pub config: Config,
    /// Whom to be when the connection string does not say.
    pub user: String,
    /// Begin with a checkpoint at once, instead of one spread over the server's usual time.
    pub fast: bool,
}

/// What came of a snapshot.
#[derive(Debug, Clone)]
pub struct StreamReport {
    /// The snapshot.
    pub report: SnapshotReport,
    /// Where recovery begins, as in `0/2000028`.
    pub start: String,
    /// Up to where the log must be replayed.
    pub stop: String,
}

/// What the snapshot says about its cluster.
#[derive(Serialize)]
struct Description {
    format: u32,
    system_identifier: String,
    version: u32,
    catalog_version: u32,
    timeline: u32,
    start_lsn: String,
    stop_lsn: String,
    standby: bool,
    checksums: bool,
    block_size: u32,
    segment_blocks: u32,
    wal_segment_size: u32,
    pgdata: String,
    wal: Vec<String>,
    tablespaces: Vec<Tablespace>,
    databases: Vec<Database>,
    corrupt_pages: Vec<()>,
}

#[derive(Serialize)]
struct Tablespace {
    oid: u32,
    location: Option<String>,
}

#[derive(Serialize)]
struct Database {
    oid: u32,
    name: String,
}

/// Takes a snapshot of a cluster over the replication protocol.
///
/// Nothing is kept on the local disk. The server goes through all its files, whatever changed; what
/// did not change costs no space. When the connection ends early, there is no snapshot.
pub async fn snapshot(
    repository: &Repository,
    from: &StreamOptions,
    options: &SnapshotOptions,
    progress: Arc<dyn Progress>,
) -> Result<StreamReport> {
    let about = {
        let from = from.clone();
        let asked = tokio::task::spawn_blocking(move || About::ask(&from).map(|(_, about)| about));
        asked.await.map_err(|_| internal())??
    };
    let what = BuildOptions {
        kind: KIND,
        paths: vec![PathBytes(about.pgdata.clone().into_bytes())],
        restart: true,
    };
    let ends: Arc<std::sync::Mutex<Option<(String, String)>>> = Arc::default();
    let (from, out) = (from.clone(), Arc::clone(&ends));
    let built = repository.build_snapshot::<Error, _>(what, options, progress, move |builder| {
        let (mut client, about) = About::ask(&from)?;
        let done = Backup::new(builder, about).run(&mut client, &from)?;
        *out.lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(done);
        Ok(())
    });
    let report = built.await?;
    let ends = ends
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .take();
    let (start, stop) = ends.ok_or_else(internal)?;
    Ok(StreamReport {
        report,
        start,
        stop,
    })
}

fn internal() -> Error {
    Error::Repository(repo_core::Error::Internal { what: "backup" })
}

/// What a server says about itself.
struct About {
    system: String,
    version: u32,
    standby: bool,
    checksums: bool,
    block_size: u32,
    segment_blocks: u32,
    wal_segment_size: u32,
    pgdata: String,
}

impl About {
    fn ask(from: &StreamOptions) -> Result<(Client, Self)> {
        let mut client = Client::connect(&from.config, &from.user, Mode::Replication)?;
        let version = client.version()?;
        let doing = "say what it is";
        let identity = client.query(doing, "IDENTIFY_SYSTEM")?;
        let system = cell(&identity, 0, 0).ok_or_else(unclear)?;
        let mut show = |name: &str| -> Result<String> {
            let rows = client.query(doing, &format!("SHOW {name}"))?;
            cell(&rows, 0, 0).ok_or_else(unclear)
        };
        let block_size = size(&show("block_size")?)?;
        let segment = size(&show("segment_size")?)?;
        let about = Self {
            version,
            // Before 14 there is no such setting; the label of the backup says it, too.
            standby: version >= 140_000 && show("in_hot_standby")? == "on",
            checksums: show("data_checksums")? == "on",
            block_size,
            segment_blocks: segment / block_size.max(1),
            wal_segment_size: size(&show("wal_segment_size")?)?,
            pgdata: match show("data_directory") {
                Ok(pgdata) => pgdata,
                // Only some users may know.
                Err(Error::Refused { .. }) => format!("/postgres/{system}/data"),
                Err(error) => return Err(error),
            },
            system,
        };
        Ok((client, about))
    }
}

/// One attempt.
struct Backup<'b> {
    builder: &'b Builder<'b>,
    about: About,
    /// Names of segments of WAL.
    wal: Vec<String>,
    catalog_version: u32,
    /// Time and owner of entries that the server does not send.
    like: Entry,
}

impl<'b> Backup<'b> {
    fn new(builder: &'b Builder<'b>, about: About) -> Self {
        let mut like = Entry::new(Vec::new(), EntryType::File);
        like.mode = 0o600;
        Self {
            builder,
            about,
            wal: Vec::new(),
            catalog_version: 0,
            like,
        }
    }

    /// Gives the positions between which the WAL is needed.
    fn run(mut self, client: &mut Client, from: &StreamOptions) -> Result<(String, String)> {
        let doing = "begin a backup";
        client.ask(&command(self.about.version, from.fast))?;
        let start = client.result(doing)?;
        let (start, timeline) = position(&start)?;
        let listed = client.result(doing)?;
        let spaces = spaces(&listed)?;
        let oids: Vec<Option<u32>> = spaces.iter().map(|(oid, _)| *oid).collect();
        let mut parts = Parts::new(client, self.about.version, &oids);
        let (mut complete, mut manifest) = (false, false);
        while let Some(part) = parts.next()? {
            match part {
                Part::Archive(space) => {
                    self.archive(&mut parts, space)?;
                    complete = complete || space.is_none();
                }
                Part::Manifest => {
                    let stored = self.store(MANIFEST.as_bytes(), self.like.clone(), &mut parts);
                    stored.map_err(|error| parts.take_failure().unwrap_or(error))?;
                    manifest = true;
                }
            }
        }
        if !complete || !manifest || self.catalog_version == 0 {
            return Err(Error::archive("the data directory is not part of it"));
        }
        let stop = client.result("end the backup")?;
        let (stop, _) = position(&stop)?;
        self.end(client)?;
        let databases = databases(from).unwrap_or_else(|error| {
            let why = format!("databases are not listed: {error}");
            self.builder.note(DESCRIPTION.as_bytes(), why);
            Vec::new()
        });
        let stopped = (start.clone(), stop.clone());
        self.describe((start, stop, timeline), spaces, databases)?;
        Ok(stopped)
    }

    /// Reads to the end of the answer. A server that found wrong checksums says so here, after it has
    /// sent all there is.
    fn end(&self, client: &mut Client) -> Result<()> {
        use postgres_protocol::message::backend::Message;
        loop {
            match client.receive("send a backup") {
                Ok(Message::ReadyForQuery(_)) => return Ok(()),
                Ok(_) => {}
                Err(Error::Refused { message, code, .. }) if code == DATA_CORRUPTED => {
                    let why = format!("the server says: {message}; its log names the pages");
                    self.builder.unread(b"", why);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Stores what one archive holds.
    fn archive(&mut self, parts: &mut Parts<'_>, space: Option<u32>) -> Result<()> {
        let below = space.map(|oid| format!("pg_tblspc/{oid}/").into_bytes());
        let below = below.unwrap_or_default();
        while let Some(header) = next_header(parts)? {
            if self.builder.cancelled() {
                return Err(repo_core::Error::Cancelled.into());
            }
            let mut path = below.clone();
            path.extend_from_slice(&header.path);
            if !header.path.is_empty() {
                let stored = self.entry(&path, &header, parts);
                stored.map_err(|error| parts.take_failure().unwrap_or(error))?;
            }
            skip(parts, header.padding())?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &[u8], header: &Header, parts: &mut Parts<'_>) -> Result<()> {
        let mut entry = Entry::new(Vec::new(), EntryType::File);
        entry.mode = header.mode;
        entry.uid = header.uid;
        entry.gid = header.gid;
        entry.mtime = Timestamp {
            seconds: header.mtime,
            nanos: 0,
        };
        match header.kind {
            Kind::Directory => {
                entry.kind = EntryType::Directory;
                return Ok(self.builder.put(path, entry)?);
            }
            // Where a tablespace lies is in tablespace_map; others lead out of the cluster.
            Kind::Link if path.starts_with(b"pg_tblspc/") => return Ok(()),
            Kind::Link => {
                entry.kind = EntryType::Symlink;
                entry.target = Some(header.target.clone());
                return Ok(self.builder.put(path, entry)?);
            }
            Kind::File => entry.size = header.size,
        }
        let segment = path
            .strip_prefix(b"pg_wal/")
            .and_then(|name| std::str::from_utf8(name).ok());
        if let Some(name) = segment.filter(|name| is_segment(name)) {
            if self.wal.len() == SEGMENTS_MAX {
                return Err(Error::archive("it holds too much WAL"));
            }
            self.wal.push(name.to_owned());
        }
        if path == CONTROL.as_bytes() {
            self.like = entry.clone();
            self.like.size = 0;
            return self.control(entry, header.size, parts);
        }
        self.store(path, entry, &mut parts.by_ref().take(header.size))
    }

    /// Stores `pg_control`, which says what the server does not.
    fn control(&mut self, entry: Entry, size: u64, parts: &mut Parts<'_>) -> Result<()> {
        if !(16..=CONTROL_MAX).contains(&size) {
            return Err(Error::archive("pg_control has an impossible length"));
        }
        let mut bytes = Vec::new();
        let read = parts.by_ref().take(size).read_to_end(&mut bytes);
        read.map_err(|error| parts.failure(error))?;
        let (system, version) = bytes
            .first_chunk::<8>()
            .zip(bytes.get(12..16).and_then(|rest| rest.first_chunk::<4>()))
            .ok_or_else(|| Error::archive("pg_control is cut"))?;
        if u64::from_le_bytes(*system).to_string() != self.about.system {
            return Err(Error::archive("pg_control is of another cluster"));
        }
        self.catalog_version = u32::from_le_bytes(*version);
        self.store(CONTROL.as_bytes(), entry, &mut &bytes[..])
    }

    /// Stores a file with the parent's version as what it is compared with.
    fn store(&self, path: &[u8], entry: Entry, source: &mut dyn Read) -> Result<()> {
        let before = self.builder.before(path)?;
        let before = before.filter(|before| before.kind == EntryType::File);
        let expected = entry.size;
        let stored = self.builder.store(path, entry, source, before.as_ref())?;
        if expected > 0 && stored.size != expected {
            return Err(Error::archive(format!("{} is cut", path.escape_ascii())));
        }
        Ok(())
    }

    fn describe(
        mut self,
        (start_lsn, stop_lsn, timeline): (String, String, u32),
        spaces: Vec<(Option<u32>, Option<String>)>,
        databases: Vec<Database>,
    ) -> Result<()> {
        self.wal.sort_unstable();
        // No archive holds the directories that it is unpacked in.
        let numbers = spaces.iter().filter_map(|(oid, _)| *oid);
        let places = numbers.map(|oid| format!("pg_tblspc/{oid}"));
        for place in places.chain([String::new()]) {
            let mut entry = self.like.clone();
            entry.kind = EntryType::Directory;
            entry.mode = 0o700;
            // Whatever the number: a root without one is taken for no directory that anybody had.
            entry.inode = Some(0);
            self.builder.put(place.as_bytes(), entry)?;
        }
        let about = self.about;
        let description = Description {
            format: 1,
            system_identifier: about.system,
            version: about.version,
            catalog_version: self.catalog_version,
            timeline,
            start_lsn,
            stop_lsn,
            standby: about.standby,
            checksums: about.checksums,
            block_size: about.block_size,
            segment_blocks: about.segment_blocks,
            wal_segment_size: about.wal_segment_size,
            pgdata: about.pgdata,
            wal: self.wal,
            tablespaces: spaces
                .into_iter()
                .filter_map(|(oid, location)| {
                    Some(Tablespace {
                        oid: oid?,
                        location,
                    })
                })
                .collect(),
            databases,
            corrupt_pages: Vec::new(),
        };
        let text = serde_json::to_vec(&description).map_err(|_| internal())?;
        for (path, bytes) in [(RELATIONS, &b""[..]), (DESCRIPTION, &text)] {
            let before = self.builder.before(path.as_bytes())?;
            self.builder.store(
                path.as_bytes(),
                self.like.clone(),
                &mut &bytes[..],
                before.as_ref(),
            )?;
        }
        Ok(())
    }
}

/// The next header of an archive; `None` at its end.
fn next_header(parts: &mut Parts<'_>) -> Result<Option<Header>> {
    let mut block = [0; BLOCK];
    let mut held = 0;
    while held < BLOCK {
        match parts.read(&mut block[held..]) {
            Ok(0) if held == 0 => return Ok(None),
            Ok(0) => return Err(Error::archive("it ends within a header")),
            Ok(read) => held += read,
            Err(error) => return Err(parts.failure(error)),
        }
    }
    Header::parse(&block).map_err(Error::archive)
}

fn skip(parts: &mut Parts<'_>, bytes: u64) -> Result<()> {
    let skipped = io::copy(&mut parts.by_ref().take(bytes), &mut io::sink());
    match skipped {
        Ok(skipped) if skipped == bytes => Ok(()),
        Ok(_) => Err(Error::archive("it ends within an entry")),
        Err(error) => Err(parts.failure(error)),
    }
}

/// The question for a backup with all WAL that it needs.
fn command(version: u32, fast: bool) -> String {
    if version >= 150_000 {
        let checkpoint = if fast { "fast" } else { "spread" };
        return format!(
            "BASE_BACKUP (LABEL 'repo', CHECKPOINT '{checkpoint}', WAL, TABLESPACE_MAP, MANIFEST 'yes')"
        );
    }
    let fast = if fast { "FAST " } else { "" };
    format!("BASE_BACKUP LABEL 'repo' {fast}WAL TABLESPACE_MAP MANIFEST 'yes'")
}

/// A position in the WAL and its timeline.
fn position(rows: &[Row]) -> Result<(String, u32)> {
    let at = cell(rows, 0, 0).ok_or_else(unclear)?;
    let timeline = cell(rows, 0, 1).and_then(|text| text.parse().ok());
    Ok((at, timeline.ok_or_else(unclear)?))
}

/// Tablespaces in the order in which they come, with their places; the data directory has no number.
fn spaces(rows: &[Row]) -> Result<Vec<(Option<u32>, Option<String>)>> {
    let mut spaces = Vec::new();
    for row in rows {
        let oid = match row.first().cloned().flatten() {
            Some(oid) => Some(oid.parse().map_err(|_| unclear())?),
            None => None,
        };
        spaces.push((oid, row.get(1).cloned().flatten()));
    }
    Ok(spaces)
}

/// The databases, which only a session of SQL tells.
fn databases(from: &StreamOptions) -> Result<Vec<Database>> {
    let mut client = Client::connect(&from.config, &from.user, Mode::Sql)?;
    let sql = "SELECT oid::text, datname FROM pg_database ORDER BY oid";
    let rows = client.query("list its databases", sql)?;
    (0..rows.len())
        .map(|at| {
            let oid = cell(&rows, at, 0).and_then(|oid| oid.parse().ok());
            Ok(Database {
                oid: oid.ok_or_else(unclear)?,
                name: cell(&rows, at, 1).ok_or_else(unclear)?,
            })
        })
        .collect()
}

/// A length as settings show it, as in `16MB`.
fn size(text: &str) -> Result<u32> {
    let split = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(split.unwrap_or(text.len()));
    let shift = match unit {
        "" | "B" => 0,
        "kB" => 10,
        "MB" => 20,
        "GB" => 30,
        _ => return Err(unclear()),
    };
    let number: Option<u32> = number.parse().ok();
    let size = number.and_then(|number| number.checked_mul(1 << shift));
    size.ok_or_else(unclear)
}

fn is_segment(name: &str) -> bool {
    matches!(name.parse(), Ok(crate::wal::WalFile::Segment(_)))
}

fn cell(rows: &[Row], row: usize, column: usize) -> Option<String> {
    rows.get(row)?.get(column)?.clone()
}

fn unclear() -> Error {
    Error::Answer { what: "a backup" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_as_settings_show_them() {
        for (text, bytes) in [
            ("8192", Some(8192)),
            ("16MB", Some(16 << 20)),
            ("1GB", Some(1 << 30)),
            ("64kB", Some(64 << 10)),
            ("4GB", None),
            ("MB", None),
            ("1 GB", None),
        ] {
            assert_eq!(size(text).ok(), bytes, "{text}");
        }
    }

    #[test]
    fn each_version_is_asked_in_its_words() {
        assert!(command(140_009, true).contains("'repo' FAST WAL"));
        assert!(!command(130_000, false).contains("FAST"));
        assert!(command(150_000, true).starts_with("BASE_BACKUP (LABEL"));
        assert!(command(180_000, false).contains("CHECKPOINT 'spread'"));
    }
}
