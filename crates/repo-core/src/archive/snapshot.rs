//! Taking a snapshot: walk, workers and tree run together, then one commit makes it visible.

use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};

use repo_format::commit::{Commit, SnapshotRef};
use repo_format::tree::{Entry, EntryType, Totals};
use repo_format::{PathBytes, Snapshot, SnapshotId, SnapshotStats};

use crate::archive::assemble::{Assembled, assemble};
use crate::archive::batch::{Batch, Permits};
use crate::archive::content::{self, StreamSource};
use crate::archive::ingest;
use crate::archive::lists::DirectoryWriter;
use crate::archive::options::{Parent, SnapshotOptions, SnapshotReport};
use crate::archive::publish::Publication;
use crate::archive::roots::{Roots, synthetic};
use crate::archive::run::Run;
use crate::archive::tree::Trees;
use crate::archive::walk::Walker;
use crate::archive::worker::Workers;
use crate::clock::{Stopwatch, now_ms};
use crate::error::{Error, Result};
use crate::limits::{BATCHES_IN_FLIGHT, SNAPSHOT_ATTEMPTS};
use crate::progress::Progress;
use crate::repository::{Repository, Session, State, new_session};

/// Says at the end of a stream whether it was complete; an error fails the snapshot.
pub type StreamEnd = Box<dyn FnOnce() -> std::result::Result<(), String> + Send>;

impl Repository {
    /// Takes a snapshot of `paths`.
    ///
    /// One directory becomes the root of the snapshot's tree; several paths keep their absolute
    /// places. Unreadable sources are findings, not errors. Nothing is visible to others before
    /// the commit at the end, and a crash before it leaves only unreferenced objects.
    pub async fn snapshot_paths(
        &self,
        paths: &[PathBuf],
        options: &SnapshotOptions,
        progress: Arc<dyn Progress>,
    ) -> Result<SnapshotReport> {
        self.writable()?;
        let roots = Roots::new(paths)?;
        let options = options.clone();
        self.blocking(move |repository| {
            use std::os::unix::ffi::OsStrExt;
            let names: Vec<PathBytes> = roots
                .paths()
                .iter()
                .map(|path| PathBytes(path.as_os_str().as_bytes().to_vec()))
                .collect();
            let what = Subject {
                kind: None,
                paths: &names,
            };
            let mut attempt = 1;
            loop {
                let taken = take(repository, &options, &what, &progress, |job| {
                    walk(job.run, job.workers, &roots, job.root())
                });
                match taken {
                    Err(error) if attempt < SNAPSHOT_ATTEMPTS && overtaken(repository, &error)? => {
                        attempt += 1;
                    }
                    taken => return taken,
                }
            }
        })
        .await
    }

    /// Takes a snapshot of one stream, as a file called `filename` in the root.
    ///
    /// `end` is asked when the stream ends; when it fails, so does the snapshot.
    pub async fn snapshot_stream(
        &self,
        filename: &[u8],
        mut source: Box<dyn Read + Send>,
        end: StreamEnd,
        options: &SnapshotOptions,
        progress: Arc<dyn Progress>,
    ) -> Result<SnapshotReport> {
        self.writable()?;
        let bad = filename.is_empty()
            || matches!(filename, b"." | b"..")
            || filename.iter().any(|byte| matches!(byte, 0 | b'/'));
        if bad {
            return Err(Error::Invalid {
                what: format!("{} is not a file name", filename.escape_ascii()),
            });
        }
        let (options, filename) = (options.clone(), filename.to_vec());
        self.blocking(move |repository| {
            let mut path = b"/".to_vec();
            path.extend_from_slice(&filename);
            let what = Subject {
                kind: None,
                paths: &[PathBytes(path)],
            };
            take(repository, &options, &what, &progress, |job| {
                let done = stream(job.run, job.workers, &filename, &mut *source, job.root())?;
                end().map_err(|what| Error::Source { what })?;
                Ok(Some(done))
            })
        })
        .await
    }
}

/// Whether a snapshot failed because what it relied on was collected meanwhile. Then the next
/// attempt, which relies on the newest state, may succeed.
pub(super) fn overtaken(repository: &Repository, error: &Error) -> Result<bool> {
    if matches!(error, Error::Overtaken { .. }) {
        return Ok(true);
    }
    Ok(error.is_lost() && repository.renewed()?.is_some())
}

/// What a snapshot is of.
pub(super) struct Subject<'s> {
    /// Kind of source; none for files.
    pub(super) kind: Option<&'s str>,
    /// With the host, what a snapshot and its parent have in common.
    pub(super) paths: &'s [PathBytes],
}

/// What a running snapshot works with.
pub(super) struct Job<'j> {
    pub(super) run: &'j Run<'j>,
    pub(super) workers: &'j Workers,
    pub(super) parent: Option<&'j Snapshot>,
}

impl<'j> Job<'j> {
    fn root(&self) -> Option<&'j Entry> {
        self.parent.map(|parent| &parent.root)
    }

    /// Does the work and stores what the workers hold then. `None`, and the run has failed, when
    /// there is no tree.
    fn done(&self, work: impl FnOnce(&Self) -> Result<Option<Assembled>>) -> Option<Assembled> {
        let done = work(self).and_then(|assembled| {
            if assembled.is_some() {
                self.workers.flush(self.run)?;
            }
            Ok(assembled)
        });
        done.unwrap_or_else(|error| {
            self.run.fail(error);
            None
        })
    }
}

/// What every kind of snapshot shares: parent, session, commit.
pub(super) fn take(
    repository: &Repository,
    options: &SnapshotOptions,
    what: &Subject<'_>,
    progress: &Arc<dyn Progress>,
    work: impl FnOnce(&Job<'_>) -> Result<Option<Assembled>>,
) -> Result<SnapshotReport> {
    let watch = Stopwatch::start();
    let time_ms = options.time_ms.unwrap_or_else(now_ms);
    let (state, index) = repository.state_and_index()?;
    let parent = find_parent(&state, options, what)?;
    let trees = Trees::with(repository, Arc::clone(&index));
    // What this run adds is known to nobody else before its commit.
    let index = Arc::new(index.fork());
    let inner = &repository.inner;
    let id = new_session()?;
    let session = Session::new(
        id,
        Arc::clone(&inner.ring),
        inner.storage.clone(),
        Arc::clone(&index),
        inner.config.pack_size,
        options.dry_run,
    );
    progress.start("snapshot", None, None);
    let run = Run::new(repository, &session, &trees, options, Arc::clone(progress));
    let workers = Workers::default();
    let root = parent.as_ref().map(|known| &known.snapshot.root);
    let job = Job {
        run: &run,
        workers: &workers,
        parent: parent.as_ref().map(|known| &*known.snapshot),
    };
    let assembled = job.done(work);
    drop(workers);
    let counted = run.finish()?;
    let assembled = assembled.ok_or(Error::Internal { what: "tree" })?;
    let written = session.finish()?;
    progress.finish();
    let snapshot = Snapshot {
        time_ms,
        host: options.host.clone(),
        user: options.user.clone(),
        paths: what.paths.to_vec(),
        root: assembled.root,
        parent: parent.as_ref().map(|known| known.snapshot.id()),
        stats: SnapshotStats {
            files: assembled.totals.files,
            directories: assembled.directories,
            bytes: assembled.totals.bytes,
            files_changed: counted.files_changed,
            bytes_new: counted.bytes_new,
            bytes_stored: written.bytes,
            unread: counted.unread,
        },
        program: concat!("repo ", env!("CARGO_PKG_VERSION")).to_owned(),
        description: options.description.clone(),
        source: what.kind.map(str::to_owned),
        duration_ms: watch.elapsed_ms(),
        original: None,
    };
    let mut saved = None;
    if !options.dry_run {
        let publication = Publication {
            repository,
            session: id,
            action: &options.action,
            progress: &**progress,
            roots: snapshot.root.subtree.into_iter().collect(),
            parent: root.and_then(|root| root.subtree),
            indexes: written.indexes,
            source: index,
            valid: Some(state.number),
            level: options.level,
        };
        let tags = options.tags.clone();
        saved = Some(publish(snapshot.clone(), tags, None, publication)?);
    }
    Ok(SnapshotReport {
        id: saved,
        snapshot,
        findings: counted.findings,
    })
}

/// Commits the snapshot: from here on others see it.
pub(super) fn publish(
    snapshot: Snapshot,
    mut tags: Vec<String>,
    protected: Option<bool>,
    publication: Publication<'_>,
) -> Result<SnapshotId> {
    tags.sort_unstable();
    tags.dedup();
    let reference = SnapshotRef {
        snapshot: snapshot.into(),
        tags,
        protected,
    };
    let id = reference.snapshot.id();
    publication.commit(|_| {
        Ok(Commit {
            add_snapshots: vec![reference.clone()],
            ..Commit::default()
        })
    })?;
    Ok(id)
}

fn find_parent(
    state: &State,
    options: &SnapshotOptions,
    what: &Subject<'_>,
) -> Result<Option<SnapshotRef>> {
    let alike = |known: &Snapshot| {
        known.host == options.host
            && known.paths == what.paths
            && known.source.as_deref() == what.kind
    };
    let found = match options.parent {
        Parent::None => None,
        Parent::Id(id) => Some(
            state
                .snapshot(&id)
                .ok_or_else(|| Error::UnknownSnapshot { id: id.to_hex() })?,
        ),
        Parent::Auto => state
            .snapshots
            .iter()
            .rev()
            .find(|known| alike(&known.snapshot)),
    };
    Ok(found.cloned())
}

fn walk(
    run: &Run<'_>,
    workers: &Workers,
    roots: &Roots,
    parent: Option<&Entry>,
) -> Result<Option<Assembled>> {
    let pool = run.repository.pool()?;
    let permits = Permits::new(BATCHES_IN_FLIGHT);
    std::thread::scope(|threads| {
        let (send, receive) = mpsc::channel::<Batch>();
        let permits = &permits;
        let tree = threads.spawn(move || {
            let done = assemble(run, workers, permits, &receive);
            permits.close();
            done
        });
        let walked = pool.in_place_scope(|scope| {
            let mut walker = Walker::new(run, |mut batch: Batch| {
                if !permits.acquire() {
                    return false;
                }
                let send = send.clone();
                scope.spawn(move |_| {
                    ingest::process(run, workers, &mut batch);
                    // The tree may have ended early; then nobody needs the batch.
                    drop(send.send(batch));
                });
                true
            });
            let walked = roots.walk(&mut walker, parent);
            walker.finish();
            walked
        });
        drop(send);
        if let Err(error) = walked {
            run.fail(error);
        }
        tree.join().map_err(|_| Error::Internal { what: "tree" })
    })
}

fn stream(
    run: &Run<'_>,
    workers: &Workers,
    filename: &[u8],
    source: &mut dyn Read,
    parent: Option<&Entry>,
) -> Result<Assembled> {
    let before = match parent.and_then(|parent| parent.subtree) {
        Some(tree) => run.trees.find(Some(tree), filename)?,
        None => None,
    };
    workers.with(run, |worker| {
        let stream = StreamSource {
            bytes: source,
            path: filename,
            size: 0,
            parent: before.as_ref(),
        };
        let mut entry = synthetic(filename);
        entry.kind = EntryType::File;
        entry.mode = 0o644;
        content::read_stream(run, worker, stream)?.describe(&mut entry);
        let mut directory = DirectoryWriter::default();
        let mut sink = worker.sink(run);
        directory.push(&entry, &mut sink)?;
        let totals = Totals {
            files: 1,
            bytes: entry.size,
        };
        let mut root = synthetic(b"");
        root.subtree = directory.finish(&mut sink)?;
        root.totals = Some(totals);
        Ok(Assembled {
            root,
            totals,
            directories: 1,
        })
    })
}
