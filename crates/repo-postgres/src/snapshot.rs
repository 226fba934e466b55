//! A snapshot of a running cluster.
//!
//! One session starts the backup and ends it; between, the data directory is read as it changes.
//! What was read torn is made whole by the log from the start of the backup on, of which the
//! segments up to its end are stored, too. So a snapshot starts without any archive.

mod pages;
mod wal;
mod walk;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use repo_core::{
    BuildOptions, Builder, Entry, EntryType, PathBytes, Progress, ReadAt as _, Repository,
    SnapshotOptions, SnapshotReport,
};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::control::Control;
use crate::description::{
    CorruptPage, DESCRIPTION_PATH, Database, Description, KIND, RELATIONS_PATH,
};
use crate::error::{Error, Result};
use crate::limits::{CONTROL_READS, CORRUPT_MAX, DESCRIPTION_MAX, READ_PAUSE, SMALL_FILE_MAX};
use crate::lsn::Lsn;
use crate::page::PAGE;
use crate::postmaster::Postmaster;
use crate::relations::{self, Catalog};
use crate::server::{Connection, Facts, Session, Stopped};
use pages::Check;
pub(crate) use pages::Suspect;
use walk::Walk;

/// Path of the file that is read last.
const CONTROL: &str = "global/pg_control";

/// A running cluster on this machine.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Its data directory.
    pub pgdata: PathBuf,
    /// How to talk to its server. What it leaves open is asked of the data directory.
    pub connection: Connection,
    /// Begin with a checkpoint at once, instead of one spread over the server's usual time.
    pub fast: bool,
}

/// What came of a snapshot.
#[derive(Debug, Clone)]
pub struct ClusterReport {
    /// The snapshot.
    pub report: SnapshotReport,
    /// What it says about the cluster, damaged pages among it.
    pub description: Description,
}

/// Takes a snapshot of a running cluster.
///
/// Files that have size, times and inode of the parent's are not read. Others are read whole, and
/// what changed is stored. When the session ends early, the standby is promoted or the log is
/// removed before it is copied, there is no snapshot.
pub async fn snapshot(
    repository: &Repository,
    cluster: &Cluster,
    options: &SnapshotOptions,
    progress: Arc<dyn Progress>,
) -> Result<ClusterReport> {
    let pgdata = std::fs::canonicalize(&cluster.pgdata)
        .map_err(|error| Error::io("find", &cluster.pgdata, error))?;
    let cluster = Cluster {
        pgdata: pgdata.clone(),
        ..cluster.clone()
    };
    let what = BuildOptions {
        kind: KIND,
        paths: vec![PathBytes(
            std::os::unix::ffi::OsStrExt::as_bytes(pgdata.as_os_str()).to_vec(),
        )],
        restart: true,
    };
    let described = Arc::new(Mutex::new(None));
    let (runtime, out, force) = (Handle::current(), Arc::clone(&described), options.force);
    let report = repository
        .build_snapshot(what, options, progress, move |builder| {
            let backup = Backup {
                builder,
                runtime: &runtime,
                cluster: &cluster,
                force,
            };
            let description = backup.run()?;
            *out.lock().unwrap_or_else(PoisonError::into_inner) = Some(description);
            Ok::<_, Error>(())
        })
        .await?;
    let description = described
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take()
        .ok_or(repo_core::Error::Internal { what: "adapter" })?;
    Ok(ClusterReport {
        report,
        description,
    })
}

/// One attempt, on a thread that may block.
struct Backup<'b> {
    builder: &'b Builder<'b>,
    runtime: &'b Handle,
    cluster: &'b Cluster,
    force: bool,
}

impl Backup<'_> {
    fn run(&self) -> Result<Description> {
        let pgdata = self.cluster.pgdata.as_path();
        let postmaster = Postmaster::read(pgdata)?;
        let connection = self.cluster.connection.clone().or_at(&postmaster);
        let session = self.runtime.block_on(Session::open(&connection))?;
        let facts = session.facts.clone();
        same_cluster(pgdata, &postmaster, &facts)?;

        let label = format!("repo {}", facts.system_identifier);
        let started = self
            .runtime
            .block_on(session.start(&label, self.cluster.fast))?;
        if let Some(why) = &started.not_held {
            let message = format!("the server may remove the log before it is copied: {why}");
            self.builder.note(b"pg_wal", message);
        }
        let databases = self.runtime.block_on(session.databases())?;
        let mut catalogs = self.read_catalogs(&connection, &databases);
        let mut description = self.describe(&session, started.start, databases)?;
        let suspects = self.read_files(&session, &description)?;
        self.store_control(pgdata)?;
        let stopped = self.runtime.block_on(session.stop())?;

        description.stop_lsn = stopped.stop;
        description.timeline = wal::timeline(&stopped.label)?;
        description.wal = wal::Wal {
            builder: self.builder,
            description: &description,
            directory: pgdata.join("pg_wal"),
        }
        .store()?;
        // The log was held back for the session until here.
        drop(session);
        let catalog = self.catalog(&mut catalogs)?;
        record_corruption(self.builder, &mut description, suspects, &catalog);
        self.store_descriptions(&description, &stopped, &catalog)?;
        Ok(description)
    }

    /// What is known at the start.
    fn describe(
        &self,
        session: &Session,
        start: Lsn,
        databases: Vec<(Database, bool)>,
    ) -> Result<Description> {
        let facts = &session.facts;
        let tablespaces = self.runtime.block_on(session.tablespaces())?;
        Ok(Description {
            format: Description::FORMAT,
            system_identifier: facts.system_identifier.to_string(),
            version: facts.version,
            catalog_version: facts.catalog_version,
            timeline: 0,
            start_lsn: start,
            stop_lsn: start,
            standby: facts.standby,
            checksums: facts.checksums,
            block_size: facts.block_size,
            segment_blocks: facts.segment_blocks,
            wal_segment_size: facts.wal_segment_size,
            pgdata: self.cluster.pgdata.to_string_lossy().into_owned(),
            wal: Vec::new(),
            tablespaces,
            databases: databases
                .into_iter()
                .map(|(database, _)| database)
                .collect(),
            corrupt_pages: Vec::new(),
        })
    }

    /// Reads the catalogs while files are read: a session for each database takes its time. Given up
    /// when what is returned is dropped.
    fn read_catalogs(
        &self,
        connection: &Connection,
        databases: &[(Database, bool)],
    ) -> JoinSet<Result<Catalog>> {
        let open = databases.iter().filter(|(_, accepts)| *accepts);
        let names: Vec<String> = open.map(|(database, _)| database.name.clone()).collect();
        let connection = connection.clone();
        let mut catalogs = JoinSet::new();
        let reading = async move { relations::read(&connection, &names).await };
        catalogs.spawn_on(reading, self.runtime);
        catalogs
    }

    fn catalog(&self, catalogs: &mut JoinSet<Result<Catalog>>) -> Result<Catalog> {
        let read = self.runtime.block_on(catalogs.join_next());
        let catalog = read
            .and_then(std::result::Result::ok)
            .ok_or(repo_core::Error::Internal { what: "catalogs" })??;
        for (database, why) in &catalog.missing {
            let message = format!("relations of {database} are not listed: {why}");
            self.builder.note(RELATIONS_PATH.as_bytes(), message);
        }
        Ok(catalog)
    }

    fn read_files(&self, session: &Session, description: &Description) -> Result<Vec<Suspect>> {
        let pgdata = self.cluster.pgdata.as_path();
        let (doubted, force) = match self.parent_corruption()? {
            Some(doubted) => (doubted, self.force),
            None => (HashSet::new(), true),
        };
        let verify = description.checksums && usize::try_from(description.block_size) == Ok(PAGE);
        let walk = Walk {
            builder: self.builder,
            session,
            version_directory: description.version_directory().into_bytes(),
            check: verify.then_some(Check {
                segment_blocks: description.segment_blocks,
            }),
            force,
            doubted,
            suspects: Mutex::default(),
        };
        walk.run(pgdata)?;
        Ok(walk
            .suspects
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner))
    }

    /// Files of the parent in which pages were damaged: they are read again though they look
    /// unchanged. `None` when the parent does not say.
    fn parent_corruption(&self) -> Result<Option<HashSet<Vec<u8>>>> {
        if self.builder.parent().is_none() {
            return Ok(Some(HashSet::new()));
        }
        let Some(entry) = self.builder.before(DESCRIPTION_PATH.as_bytes())? else {
            return Ok(None);
        };
        let bytes = self.builder.read_before(&entry, 0..DESCRIPTION_MAX)?;
        let Ok(before) = Description::parse(&bytes) else {
            return Ok(None);
        };
        // When there were too many to record, any file may have one.
        let all = before.corrupt_pages.len() < CORRUPT_MAX;
        let paths = before.corrupt_pages.into_iter();
        Ok(all.then(|| paths.map(|page| page.path.into_bytes()).collect()))
    }

    /// Stores `pg_control`, which is never cut by a write of the server in the middle.
    fn store_control(&self, pgdata: &Path) -> Result<()> {
        let path = pgdata.join(CONTROL);
        let file = self
            .builder
            .open_local(&path)
            .map_err(|error| Error::io("open", &path, error))?;
        for _ in 0..CONTROL_READS {
            let mut bytes = vec![0; usize::try_from(file.size().min(SMALL_FILE_MAX)).unwrap_or(0)];
            let read = file
                .read_at(&mut bytes, 0)
                .map_err(|error| Error::io("read", &path, error))?;
            bytes.truncate(read);
            if Control::read(&bytes).is_some() {
                let before = self.builder.before(CONTROL.as_bytes())?;
                let entry = file.entry().clone();
                self.builder
                    .store(CONTROL.as_bytes(), entry, &mut &bytes[..], before.as_ref())?;
                return Ok(());
            }
            pages::pause(READ_PAUSE);
        }
        Err(Error::Control { path })
    }

    /// Stores what lies in the snapshot and not in the data directory.
    fn store_descriptions(
        &self,
        description: &Description,
        stopped: &Stopped,
        catalog: &Catalog,
    ) -> Result<()> {
        self.store_bytes("backup_label", &stopped.label)?;
        if !stopped.map.is_empty() {
            self.store_bytes("tablespace_map", &stopped.map)?;
        }
        self.store_bytes(RELATIONS_PATH, &catalog.lines)?;
        self.store_bytes(DESCRIPTION_PATH, &description.to_bytes()?)
    }

    fn store_bytes(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let before = self.builder.before(path.as_bytes())?;
        let entry = synthetic(self.builder, &self.cluster.pgdata)?;
        self.builder
            .store(path.as_bytes(), entry, &mut &bytes[..], before.as_ref())?;
        Ok(())
    }
}

/// The entry of a file that belongs to the cluster and that no file system has: owner and time of
/// `pg_control`, readable by the owner only.
fn synthetic(builder: &Builder<'_>, pgdata: &Path) -> Result<Entry> {
    let path = pgdata.join(CONTROL);
    let like = builder
        .describe_local(&path)
        .map_err(|error| Error::io("look at", path, error))?;
    let mut entry = Entry::new(b"", EntryType::File);
    entry.mode = 0o600;
    if let Some(like) = like {
        entry.uid = like.uid;
        entry.gid = like.gid;
        entry.user = like.user;
        entry.group = like.group;
        entry.mtime = like.mtime;
    }
    Ok(entry)
}

/// Fails unless the server of the session runs on the data directory.
fn same_cluster(pgdata: &Path, postmaster: &Postmaster, facts: &Facts) -> Result<()> {
    let other = |why| Error::OtherCluster {
        pgdata: pgdata.to_owned(),
        why,
    };
    let path = pgdata.join(CONTROL);
    let mut control = None;
    for _ in 0..CONTROL_READS {
        let bytes = std::fs::read(&path).map_err(|error| Error::io("read", &path, error))?;
        control = Control::read(&bytes);
        if control.is_some() {
            break;
        }
        pages::pause(READ_PAUSE);
    }
    let control = control.ok_or(Error::Control { path })?;
    if control.system_identifier != facts.system_identifier {
        let (here, there) = (control.system_identifier, facts.system_identifier);
        return Err(other(format!(
            "system identifier {here}, the server has {there}"
        )));
    }
    // A standby has the same number; the port tells two servers of one machine apart.
    if postmaster.port != facts.port {
        let (here, there) = (postmaster.port, facts.port);
        return Err(other(format!("port {here}, the server has {there}")));
    }
    Ok(())
}

/// Tells pages that are damaged from those that the log makes whole.
pub(crate) fn record_corruption(
    builder: &Builder<'_>,
    description: &mut Description,
    suspects: Vec<Suspect>,
    catalog: &Catalog,
) {
    let log = description.start_lsn..=description.stop_lsn;
    let mut pages: Vec<CorruptPage> = suspects
        .into_iter()
        .filter(|suspect| suspect.written <= *log.start() || suspect.written > *log.end())
        .map(|suspect| CorruptPage {
            path: String::from_utf8_lossy(&suspect.path).into_owned(),
            block: suspect.block,
            relation: None,
        })
        .collect();
    pages.sort_unstable();
    pages.dedup();
    let more = pages.len().saturating_sub(CORRUPT_MAX);
    pages.truncate(CORRUPT_MAX);
    name_relations(&mut pages, catalog);
    for page in &pages {
        let relation = page
            .relation
            .as_deref()
            .unwrap_or("a relation without a name");
        let message = format!(
            "block {} of {relation} is damaged: its checksum is wrong; it is stored as it is",
            page.block
        );
        builder.unread(page.path.as_bytes(), message);
    }
    if more > 0 {
        builder.unread(b"", format!("{more} more pages have wrong checksums"));
    }
    description.corrupt_pages = pages;
}

/// Gives each page the name of its relation.
fn name_relations(pages: &mut [CorruptPage], catalog: &Catalog) {
    if pages.is_empty() {
        return;
    }
    let wanted: HashSet<String> = pages
        .iter()
        .filter_map(|page| relations::first_file(&page.path))
        .collect();
    let names: std::collections::HashMap<String, String> = relations::parse(&catalog.lines)
        .filter_map(std::result::Result::ok)
        .filter(|relation| wanted.contains(&relation.path))
        .map(|relation| (relation.path.clone(), relation.full_name()))
        .collect();
    for page in pages {
        page.relation =
            relations::first_file(&page.path).and_then(|first| names.get(&first).cloned());
    }
}
