//! The spool: a local directory with acknowledgements of what was pushed ahead of its turn, and with
//! segments that were fetched ahead of theirs.
//!
//! Everything in it can be deleted at any time; it costs asking the repository again.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::wal::error::{Error, Result};
use crate::wal::header::{self, HEADER_LEN};
use crate::wal::limits::{ACKNOWLEDGEMENT_MAX, PART};
use crate::wal::local::{self, Request, Staged, Sum};
use crate::wal::name::WalFile;

/// A spool of one repository.
#[derive(Debug, Clone)]
pub struct Spool {
    directory: PathBuf,
}

impl Spool {
    /// The part of the spool in `directory` that is for the repository at `location`.
    #[must_use]
    pub fn new(directory: &Path, location: &str) -> Self {
        let sum: Sum = Sha256::digest(location.as_bytes()).into();
        let name = hex(sum.get(..8).unwrap_or_default());
        Self {
            directory: directory.join(name),
        }
    }

    /// Whether the file was pushed ahead of its turn, with the content it has now. That is said
    /// once: the acknowledgement is deleted. Asks no repository.
    pub fn take_acknowledged(&self, request: &Request) -> Result<bool> {
        let path = self.acknowledgement(request.system, request.file);
        let mut noted = String::new();
        let opened = File::open(&path);
        let read = opened.and_then(|file| {
            let mut file = file.take(ACKNOWLEDGEMENT_MAX);
            file.read_to_string(&mut noted)
        });
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(Error::io("read", path, error)),
        }
        let source = request.path(request.file);
        let (len, sum) = File::open(&source)
            .and_then(local::sum)
            .map_err(|error| Error::io("read", source, error))?;
        fs::remove_file(&path).map_err(|error| Error::io("delete", path, error))?;
        Ok(noted == line(len, &sum))
    }

    /// Notes that the file is in the repository.
    pub(crate) fn acknowledge(
        &self,
        system: u64,
        file: WalFile,
        len: u64,
        sum: &Sum,
    ) -> Result<()> {
        let path = self.acknowledgement(system, file);
        make_parent(&path)?;
        local::replace(&path, line(len, sum).as_bytes())
    }

    /// Whether the file is acknowledged, with whatever content.
    pub(crate) fn is_acknowledged(&self, system: u64, file: WalFile) -> bool {
        self.acknowledgement(system, file).exists()
    }

    /// Deletes acknowledgements of files that do not wait to be archived.
    pub(crate) fn retain_acknowledged(&self, request: &Request, waiting: &[WalFile]) {
        let directory = self.part("push", request.system);
        delete_others(&directory, &|name| {
            let file = name.strip_suffix(".ok").and_then(|name| name.parse().ok());
            file.is_some_and(|file: WalFile| waiting.contains(&file))
        });
    }

    /// Puts the file where it is wanted, if it was fetched ahead of its turn.
    pub fn take_fetched(&self, system: u64, file: WalFile, target: &Path) -> Result<bool> {
        let path = self.fetched(system, file);
        let mut source = match File::open(&path) {
            Ok(source) => source,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(Error::io("read", path, error)),
        };
        let staged = Staged::create(target)?;
        let len = copy_checked(&mut source, &staged, file, system)
            .map_err(|error| Error::io("copy", &path, error))?;
        // A file that is not what it should be is fetched again.
        if len.is_some() {
            staged.finish()?;
        }
        fs::remove_file(&path).map_err(|error| Error::io("delete", path, error))?;
        Ok(len.is_some())
    }

    /// Whether the file was fetched ahead of its turn.
    pub(crate) fn is_fetched(&self, system: u64, file: WalFile) -> bool {
        self.fetched(system, file).exists()
    }

    /// Begins a file that is fetched ahead of its turn.
    pub(crate) fn stage_fetched(&self, system: u64, file: WalFile) -> Result<Staged> {
        let path = self.fetched(system, file);
        make_parent(&path)?;
        Staged::create(&path)
    }

    /// Deletes what was fetched ahead, but for these.
    pub(crate) fn retain_fetched(&self, system: u64, wanted: &[WalFile]) {
        let directory = self.part("get", system);
        delete_others(&directory, &|name| {
            name.parse()
                .is_ok_and(|file: WalFile| wanted.contains(&file))
        });
    }

    fn part(&self, part: &str, system: u64) -> PathBuf {
        self.directory.join(part).join(system.to_string())
    }

    fn acknowledgement(&self, system: u64, file: WalFile) -> PathBuf {
        self.part("push", system).join(format!("{file}.ok"))
    }

    fn fetched(&self, system: u64, file: WalFile) -> PathBuf {
        self.part("get", system).join(file.to_string())
    }
}

/// Copies a file; `None` when it is not what its name says.
fn copy_checked(
    source: &mut File,
    target: &Staged,
    file: WalFile,
    system: u64,
) -> std::io::Result<Option<u64>> {
    let len = source.metadata()?.len();
    let mut head = Vec::with_capacity(HEADER_LEN);
    source
        .by_ref()
        .take(HEADER_LEN as u64)
        .read_to_end(&mut head)?;
    if header::validate(file, &head, len, system).is_err() {
        return Ok(None);
    }
    let out = target.file().map_err(std::io::Error::other)?;
    let mut out = std::io::BufWriter::with_capacity(PART, out);
    std::io::Write::write_all(&mut out, &head)?;
    let copied = std::io::copy(source, &mut out)?;
    std::io::Write::flush(&mut out)?;
    Ok((copied + head.len() as u64 == len).then_some(len))
}

fn make_parent(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(parent)
        .map_err(|error| Error::io("make", parent, error))
}

/// Cleans a directory; what cannot be deleted costs space only.
fn delete_others(directory: &Path, keep: &dyn Fn(&str) -> bool) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !local::is_being_written(&name) && !keep(&name) {
            drop(fs::remove_file(entry.path()));
        }
    }
}

fn line(len: u64, sum: &Sum) -> String {
    format!("{len} {}\n", hex(sum))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
