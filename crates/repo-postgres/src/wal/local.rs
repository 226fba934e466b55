//! Files of WAL on the local disk: what is to be pushed, its digest, and writing what was fetched.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::wal::error::{Error, Result};
use crate::wal::header::{self, HEADER_LEN};
use crate::wal::limits::{PART, SEGMENT_MAX, TEXT_MAX};
use crate::wal::name::WalFile;

/// SHA-256 of a file.
pub(crate) type Sum = [u8; 32];

/// What Postgres asks to archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The directory the file is in.
    directory: PathBuf,
    /// The file.
    pub file: WalFile,
    /// System identifier of the cluster.
    pub system: u64,
}

impl Request {
    /// Finds out what file `path` is, and of which cluster. Without `pgdata` the cluster is the
    /// one whose `pg_wal` the path names, as in `pg_wal/000000010000000000000001`.
    pub fn new(path: &Path, pgdata: Option<&Path>) -> Result<Self> {
        let name = path.file_name().unwrap_or_default();
        let file = name.to_string_lossy().parse()?;
        let directory = path.parent().unwrap_or(Path::new(""));
        let pgdata = match pgdata {
            Some(pgdata) => pgdata.to_owned(),
            None => directory.parent().unwrap_or(Path::new("")).to_owned(),
        };
        Ok(Self {
            directory: directory.to_owned(),
            file,
            system: system_identifier(&pgdata)?,
        })
    }

    /// Where a file of the same directory is.
    pub(crate) fn path(&self, file: WalFile) -> PathBuf {
        self.directory.join(file.to_string())
    }

    /// Other files that wait to be archived, first those to be archived first, at most `max`.
    /// What was to be archived before this one and still waits was refused; it is not tried again.
    pub(crate) fn waiting(&self, max: usize) -> Result<Vec<WalFile>> {
        let directory = self.directory.join("archive_status");
        let failed = |error| Error::io("list", &directory, error);
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            // Called by hand for a file elsewhere.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut waiting = BTreeSet::new();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            let name = name.to_str().and_then(|name| name.strip_suffix(".ready"));
            let Some(file) = name.and_then(|name| name.parse::<WalFile>().ok()) else {
                continue;
            };
            if file > self.file || matches!(file, WalFile::History(_)) && file != self.file {
                waiting.insert(file);
            }
            if waiting.len() > max {
                waiting.pop_last();
            }
        }
        Ok(waiting.into_iter().collect())
    }
}

/// The identity of the cluster in `pgdata`, from its control file.
pub fn system_identifier(pgdata: &Path) -> Result<u64> {
    let path = pgdata.join("global/pg_control");
    let mut bytes = [0; 8];
    File::open(&path)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|error| Error::io("read", &path, error))?;
    Ok(u64::from_le_bytes(bytes))
}

/// A file that is open to be pushed, and is what its name says.
pub(crate) struct Opened {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    pub(crate) metadata: fs::Metadata,
}

impl Opened {
    /// Opens and checks it.
    pub(crate) fn open(path: PathBuf, name: WalFile, system: u64) -> Result<Self> {
        let failed = |error| Error::io("read", &path, error);
        let mut file = File::open(&path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        check_len(name, metadata.len())?;
        let mut head = Vec::with_capacity(HEADER_LEN);
        (&mut file)
            .take(HEADER_LEN as u64)
            .read_to_end(&mut head)
            .map_err(failed)?;
        header::validate(name, &head, metadata.len(), system)?;
        let opened = Self {
            file,
            path,
            metadata,
        };
        opened.rewound()
    }

    /// The same file, from its beginning.
    pub(crate) fn rewound(mut self) -> Result<Self> {
        match self.file.seek(SeekFrom::Start(0)) {
            Ok(_) => Ok(self),
            Err(error) => Err(Error::io("read", self.path, error)),
        }
    }
}

/// Refuses lengths that no file of its kind has.
pub(crate) fn check_len(file: WalFile, size: u64) -> Result<()> {
    let max = if file.holds_wal() {
        SEGMENT_MAX
    } else {
        TEXT_MAX
    };
    if size > max {
        return Err(Error::TooLarge { file, size });
    }
    Ok(())
}

/// Reads what another reader gives, and its digest.
pub(crate) struct Summing<R> {
    inner: R,
    hasher: Sha256,
    len: u64,
}

impl<R: Read> Summing<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self {
            inner,
            hasher: Sha256::new(),
            len: 0,
        }
    }

    /// Length and digest of what was read.
    pub(crate) fn finish(self) -> (u64, Sum) {
        (self.len, self.hasher.finalize().into())
    }
}

impl<R: Read> Read for Summing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(buffer.get(..read).unwrap_or_default());
        self.len += read as u64;
        Ok(read)
    }
}

/// Length and digest of the rest of a reader.
pub(crate) fn sum(reader: impl Read) -> std::io::Result<(u64, Sum)> {
    let mut reader = Summing::new(reader);
    let mut buffer = vec![0; PART];
    while reader.read(&mut buffer)? > 0 {}
    Ok(reader.finish())
}

/// A file that gets its name when it is whole and durable; dropped before, it goes.
pub(crate) struct Staged {
    file: File,
    staged: Option<PathBuf>,
    path: PathBuf,
}

impl Staged {
    /// Begins the file that is to be `path`.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        clear_leftovers(path);
        let mut name = path.file_name().unwrap_or_default().to_owned();
        // Others may stage the same file in the spool at the same time.
        name.push(format!(".{}{STAGED}", std::process::id()));
        let staged = path.with_file_name(name);
        let file = create(&staged).map_err(|error| Error::io("write", &staged, error))?;
        Ok(Self {
            file,
            staged: Some(staged),
            path: path.to_owned(),
        })
    }

    /// To write to.
    pub(crate) fn file(&self) -> Result<File> {
        let cloned = self.file.try_clone();
        cloned.map_err(|error| Error::io("write", &self.path, error))
    }

    /// Makes it durable and gives it its name.
    pub(crate) fn finish(mut self) -> Result<()> {
        let failed = |error| Error::io("write", &self.path, error);
        self.file.sync_all().map_err(failed)?;
        if let Some(staged) = self.staged.take() {
            fs::rename(&staged, &self.path).map_err(failed)?;
        }
        sync_parent(&self.path)
    }
}

/// End of the name of a file that is not whole yet; the process that writes it stands before.
const STAGED: &str = ".tmp";

/// Whether a name is that of a file that a process is about to finish.
pub(crate) fn is_being_written(name: &str) -> bool {
    let Some((_, writer)) = name
        .strip_suffix(STAGED)
        .and_then(|stem| stem.rsplit_once('.'))
    else {
        return false;
    };
    let writer = writer.parse().ok().and_then(rustix::process::Pid::from_raw);
    writer.is_some_and(|writer| {
        // A process of somebody else is one, too.
        rustix::process::test_kill_process(writer) != Err(rustix::io::Errno::SRCH)
    })
}

/// Deletes what killed processes left of `path`.
fn clear_leftovers(path: &Path) {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return;
    };
    let parent = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    let start = format!("{}.", name.to_string_lossy());
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(&start) && name.ends_with(STAGED) && !is_being_written(&name) {
            // What cannot be deleted costs space only.
            drop(fs::remove_file(entry.path()));
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(staged) = &self.staged {
            // Whoever needs the space finds it by its name.
            drop(fs::remove_file(staged));
        }
    }
}

fn create(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true);
    options.mode(0o600).open(path)
}

/// Makes names in the directory of `path` durable.
pub(crate) fn sync_parent(path: &Path) -> Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| Error::io("sync", parent, error))
}

/// Writes a small file at once. It is whole or not there, but may be lost with the power.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let mut staged = Staged::create(path)?;
    staged
        .file
        .write_all(content)
        .map_err(|error| Error::io("write", path, error))?;
    if let Some(from) = staged.staged.take() {
        fs::rename(from, path).map_err(|error| Error::io("write", path, error))?;
    }
    Ok(())
}
