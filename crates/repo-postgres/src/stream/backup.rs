//! A snapshot of a cluster that is reached over the network only: the server sends its files, and they
//! are stored as they come.
//!
//! The tree is the one of a snapshot with access to the files: the data directory in the root, each
//! tablespace below `pg_tblspc`, what is known about the cluster below `.repo`; there lies the server's
//! own manifest, too. With it a later backup asks for changes only, which are folded over the parent's
//! files: each snapshot is a full one.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use repo_core::{
    BuildOptions, Builder, Entry, EntryType, PathBytes, Progress, Repository, SnapshotOptions,
    SnapshotReport,
};
use tokio::runtime::Handle;
use tokio_postgres::Config;

use crate::description::{
    DESCRIPTION_PATH, Database, Description, KIND, RELATIONS_PATH, Tablespace,
};
use crate::limits::{CORRUPT_MAX, DESCRIPTION_MAX};
use crate::lsn::Lsn;
use crate::page::PAGE;
use crate::relations::{self, Catalog};
use crate::server::Connection;
use crate::snapshot::record_corruption;
use crate::stream::about::About;
use crate::stream::archive::{Part, Parts};
use crate::stream::client::{Client, Row, SOCKETS};
use crate::stream::error::{Error, Result};
use crate::stream::files::Files;
use crate::stream::question::{command, databases, position, spaces};

/// Path of the server's own list of files.
const MANIFEST: &str = ".repo/backup_manifest";
/// Where the server knows from what changed.
const SUMMARIES: &str = "pg_wal/summaries";
/// Bytes of a manifest that are sent at once.
const PART: u64 = 1 << 20;
/// SQLSTATE of a server that found wrong checksums while it sent.
const DATA_CORRUPTED: &str = "XX001";
const DOING: &str = "begin a backup";

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
    /// What it says about the cluster, damaged pages among it.
    pub description: Description,
}

/// What the server is asked for.
#[derive(Debug, Clone)]
enum Wish {
    /// Changes since the parent where the server knows them.
    Changes,
    /// All files, because changes were not to be had.
    All { why: String },
}

/// Takes a snapshot of a cluster over the replication protocol.
///
/// Nothing is kept on the local disk. A server with summaries of its log sends what changed since the
/// parent; others send all their files, and what did not change costs no space. When the connection
/// ends early, there is no snapshot.
pub async fn snapshot(
    repository: &Repository,
    from: &StreamOptions,
    options: &SnapshotOptions,
    progress: Arc<dyn Progress>,
) -> Result<StreamReport> {
    match attempt(repository, from, options, &progress, Wish::Changes).await {
        Err(Error::Changes { why }) => {
            attempt(repository, from, options, &progress, Wish::All { why }).await
        }
        taken => taken,
    }
}

async fn attempt(
    repository: &Repository,
    from: &StreamOptions,
    options: &SnapshotOptions,
    progress: &Arc<dyn Progress>,
    wish: Wish,
) -> Result<StreamReport> {
    let about = {
        let StreamOptions { config, user, .. } = from.clone();
        let asked = tokio::task::spawn_blocking(move || About::ask(&config, &user));
        asked.await.map_err(|_| internal())??.1
    };
    let what = BuildOptions {
        kind: KIND,
        paths: vec![PathBytes(about.pgdata.clone().into_bytes())],
        restart: true,
    };
    let described: Arc<Mutex<Option<Description>>> = Arc::default();
    let (from, out, runtime) = (from.clone(), Arc::clone(&described), Handle::current());
    let built = repository.build_snapshot::<Error, _>(
        what,
        options,
        Arc::clone(progress),
        move |builder| {
            let (client, about) = About::ask(&from.config, &from.user)?;
            let backup = Backup::new(builder, &about)?;
            let description = backup.run(client, &from, &wish, &runtime)?;
            *out.lock().unwrap_or_else(PoisonError::into_inner) = Some(description);
            Ok(())
        },
    );
    let report = built.await?;
    let mut described = described.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(StreamReport {
        report,
        description: described.take().ok_or_else(internal)?,
    })
}

fn internal() -> Error {
    Error::Repository(repo_core::Error::Internal { what: "backup" })
}

/// One attempt.
struct Backup<'b> {
    builder: &'b Builder<'b>,
    about: &'b About,
    /// What the parent says about its cluster.
    parent: Option<Description>,
    files: Files<'b>,
}

impl<'b> Backup<'b> {
    fn new(builder: &'b Builder<'b>, about: &'b About) -> Result<Self> {
        let parent = match builder.before(DESCRIPTION_PATH.as_bytes())? {
            Some(entry) => {
                let bytes = builder.read_before(&entry, 0..DESCRIPTION_MAX)?;
                Description::parse(&bytes).ok()
            }
            None => None,
        };
        Ok(Self {
            builder,
            about,
            files: Files::new(builder, about, parent.as_ref()),
            parent,
        })
    }

    fn run(
        mut self,
        mut client: Client,
        from: &StreamOptions,
        wish: &Wish,
        runtime: &Handle,
    ) -> Result<Description> {
        let client = &mut client;
        let start = self.begin(client, from.fast, wish)?;
        let (start_lsn, timeline) = position(&start)?;
        let spaces = spaces(&client.result(DOING)?)?;
        let oids: Vec<Option<u32>> = spaces.iter().map(|(oid, _)| *oid).collect();
        let mut parts = Parts::new(client, self.about.version, &oids);
        let (mut complete, mut manifest) = (false, false);
        while let Some(part) = parts.next()? {
            match part {
                Part::Archive(space) => {
                    self.files.archive(&mut parts, space)?;
                    complete = complete || space.is_none();
                }
                Part::Manifest => {
                    let (path, like) = (MANIFEST.as_bytes(), self.files.like.clone());
                    let stored = self.files.store(path, like, &mut parts);
                    stored.map_err(|error| parts.take_failure().unwrap_or(error))?;
                    manifest = true;
                }
            }
        }
        if !complete || !manifest || self.files.catalog_version == 0 {
            return Err(Error::archive("the data directory is not part of it"));
        }
        let (stop_lsn, _) = position(&client.result("end the backup")?)?;
        let warned = end(client)?;
        let (databases, catalog) = self.catalog(from, runtime);
        let description = self.description((start_lsn, stop_lsn, timeline), spaces, databases);
        self.describe(description, &catalog, warned)
    }

    /// Asks for the backup, and for changes only where the parent is one of this server's. Gives
    /// where it begins.
    fn begin(&mut self, client: &mut Client, fast: bool, wish: &Wish) -> Result<Vec<Row>> {
        let manifest = match wish {
            Wish::Changes => self.manifest_before()?,
            Wish::All { why } => {
                let why = format!("all files are sent instead of changes: {why}");
                self.builder.note(SUMMARIES.as_bytes(), why);
                None
            }
        };
        let refused = |error| match error {
            Error::Refused { message, .. } => Error::Changes { why: message },
            error => error,
        };
        if let Some(manifest) = &manifest {
            self.upload(client, manifest).map_err(refused)?;
            self.files.changes = true;
        }
        client.ask(&command(self.about.version, fast, self.files.changes))?;
        let start = client.result(DOING);
        if self.files.changes {
            start.map_err(refused)
        } else {
            start
        }
    }

    /// The server's manifest in the parent, when it can tell what changed since.
    fn manifest_before(&self) -> Result<Option<Entry>> {
        let about = self.about;
        let same = |parent: &Description| {
            parent.system_identifier == about.system
                && (parent.block_size, parent.segment_blocks)
                    == (about.block_size, about.segment_blocks)
                && usize::try_from(parent.block_size) == Ok(PAGE)
                && parent.corrupt_pages.len() < CORRUPT_MAX
        };
        if !about.summaries || !self.parent.as_ref().is_some_and(same) {
            return Ok(None);
        }
        let entry = self.builder.before(MANIFEST.as_bytes())?;
        Ok(entry.filter(|entry| entry.kind == EntryType::File && entry.size > 0))
    }

    /// Sends the manifest of the parent.
    fn upload(&self, client: &mut Client, manifest: &Entry) -> Result<()> {
        let doing = "take the manifest of the parent";
        client.begin_copy_in("UPLOAD_MANIFEST", doing)?;
        let mut at = 0;
        while at < manifest.size {
            let bytes = self.builder.read_before(manifest, at..at + PART)?;
            if bytes.is_empty() {
                break;
            }
            at += bytes.len() as u64;
            client.copy_in(&bytes)?;
        }
        client.end_copy_in(doing)
    }

    /// Databases and relations, which only sessions of SQL tell.
    fn catalog(&self, from: &StreamOptions, runtime: &Handle) -> (Vec<Database>, Catalog) {
        let listed = databases(from).unwrap_or_else(|error| {
            let why = format!("databases are not listed: {error}");
            self.builder.note(DESCRIPTION_PATH.as_bytes(), why);
            Vec::new()
        });
        let open = listed.iter().filter(|(_, accepts)| *accepts);
        let names: Vec<String> = open.map(|(database, _)| database.name.clone()).collect();
        let mut config = from.config.clone();
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            config.host_path(SOCKETS);
        }
        let connection = Connection::of(config).or_user(&from.user);
        let read = runtime.block_on(relations::read(&connection, &names));
        let catalog = read.unwrap_or_else(|error| Catalog {
            lines: Vec::new(),
            missing: vec![("all databases".to_owned(), error.to_string())],
        });
        for (database, why) in &catalog.missing {
            let message = format!("relations of {database} are not listed: {why}");
            self.builder.note(RELATIONS_PATH.as_bytes(), message);
        }
        let databases = listed.into_iter().map(|(database, _)| database);
        (databases.collect(), catalog)
    }

    fn description(
        &mut self,
        (start_lsn, stop_lsn, timeline): (Lsn, Lsn, u32),
        spaces: Vec<(Option<u32>, Option<String>)>,
        databases: Vec<Database>,
    ) -> Description {
        let about = self.about;
        let mut wal = std::mem::take(&mut self.files.wal);
        wal.sort_unstable();
        let spaces = spaces.into_iter();
        Description {
            format: Description::FORMAT,
            system_identifier: about.system.clone(),
            version: about.version,
            catalog_version: self.files.catalog_version,
            timeline,
            start_lsn,
            stop_lsn,
            standby: about.standby,
            checksums: about.checksums,
            block_size: about.block_size,
            segment_blocks: about.segment_blocks,
            wal_segment_size: about.wal_segment_size,
            pgdata: about.pgdata.clone(),
            wal,
            tablespaces: spaces
                .filter_map(|(oid, location)| {
                    Some(Tablespace {
                        oid: oid?,
                        location: location.map(PathBuf::from).filter(|at| at.is_absolute()),
                    })
                })
                .collect(),
            databases,
            corrupt_pages: Vec::new(),
        }
    }

    /// Stores what no archive holds. `warned` is what the server said about damage.
    fn describe(
        mut self,
        mut description: Description,
        catalog: &Catalog,
        warned: Option<String>,
    ) -> Result<Description> {
        let suspects = std::mem::take(&mut self.files.suspects);
        record_corruption(self.builder, &mut description, suspects, catalog);
        if let Some(said) = warned.filter(|_| description.corrupt_pages.is_empty()) {
            let why = format!("the server says: {said}; its log names the pages");
            self.builder.unread(b"base", why);
        }
        let numbers = description.tablespaces.iter().map(|space| space.oid);
        let places = numbers.map(|oid| format!("pg_tblspc/{oid}"));
        for place in places.chain([String::new()]) {
            let mut entry = self.files.like.clone();
            entry.kind = EntryType::Directory;
            entry.mode = 0o700;
            // Whatever the number: a root without one is taken for no directory that anybody had.
            entry.inode = Some(0);
            self.builder.put(place.as_bytes(), entry)?;
        }
        let text = description.to_bytes().map_err(|_| internal())?;
        for (path, bytes) in [(RELATIONS_PATH, &catalog.lines), (DESCRIPTION_PATH, &text)] {
            let like = self.files.like.clone();
            self.files.store(path.as_bytes(), like, &mut &bytes[..])?;
        }
        Ok(description)
    }
}

/// Reads to the end of the answer. A server that found wrong checksums says so here, after it has
/// sent all there is; what it says is given.
fn end(client: &mut Client) -> Result<Option<String>> {
    match client.finish("send a backup") {
        Ok(()) => Ok(None),
        Err(Error::Refused { message, code, .. }) if code == DATA_CORRUPTED => Ok(Some(message)),
        Err(error) => Err(error),
    }
}
