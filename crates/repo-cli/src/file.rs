//! Files that a command writes beside its results: whole or not there.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::exit::Failure;
use crate::show;

/// A file that takes its name once it is whole, in place of what had it.
pub(crate) struct NewFile {
    path: PathBuf,
    file: NamedTempFile,
}

impl NewFile {
    /// A file beside `path`, without a name that anybody looks for.
    pub(crate) fn create(path: &Path) -> Result<Self, Failure> {
        let file = tempfile::Builder::new()
            .prefix(".repo-")
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(directory(path))
            .map_err(|error| failed(path, &error))?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// Where bytes go.
    pub(crate) fn writer(&self) -> Result<Box<dyn Write + Send>, Failure> {
        let file = self.file.as_file().try_clone();
        let file = file.map_err(|error| failed(&self.path, &error))?;
        Ok(Box::new(io::BufWriter::with_capacity(256 << 10, file)))
    }

    /// Gives it its name, durably.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        let Self { path, file } = self;
        let named = || {
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|error| error.error)?;
            File::open(directory(&path))?.sync_all()
        };
        named().map_err(|error| failed(&path, &error))
    }
}

/// The directory that holds `path`.
pub(crate) fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Writes a whole file.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let file = NewFile::create(path)?;
    let written = file.file.as_file().write_all(bytes);
    written.map_err(|error| failed(path, &error))?;
    file.finish()
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::because(format!("cannot write {}", show::local_path(path)), error)
}
