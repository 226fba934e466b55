//! Tables in local directories, and the move of one as a program would do it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use bytes::Bytes;
use repo_tables::iceberg::{
    AccessError, Candidate, Error, Fetch, FileRef, Kind, Metadata, Moved, Prefixes, Relocated,
    Relocation, Selection, Sink, TableUuid, choose, files_of, relocate,
};

/// The file of a `file:` location or a plain path.
pub(crate) fn path_of(location: &str) -> PathBuf {
    let path = location.strip_prefix("file:").unwrap_or(location);
    Path::new("/").join(path.trim_start_matches('/'))
}

/// Reads local files.
pub(crate) struct Local;

impl Fetch for Local {
    fn fetch(&self, location: &str, max: u64) -> Result<Bytes, AccessError> {
        let path = path_of(location);
        let length = match fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(AccessError::NotFound);
            }
            Err(error) => return Err(AccessError::failed(error)),
        };
        if length > max {
            return Err(AccessError::TooLarge { max });
        }
        fs::read(path).map(Bytes::from).map_err(AccessError::failed)
    }
}

/// Writes a moved table to local files, and remembers what it was given.
#[derive(Default)]
pub(crate) struct Target {
    pub(crate) written: Mutex<BTreeMap<String, Moved>>,
    pub(crate) copied: Mutex<BTreeMap<String, Moved>>,
}

fn make(location: &str) -> Result<PathBuf, AccessError> {
    let path = path_of(location);
    let directory = path.parent().expect("a file has a directory");
    fs::create_dir_all(directory).map_err(AccessError::failed)?;
    Ok(path)
}

impl Sink for Target {
    fn write(&self, file: &Moved, bytes: Vec<u8>) -> Result<(), AccessError> {
        fs::write(make(&file.to)?, bytes).map_err(AccessError::failed)?;
        let known = self.written.lock().expect("a lock");
        let mut known = known;
        assert_eq!(
            known.insert(file.from.clone(), file.clone()),
            None,
            "twice: {file:?}"
        );
        Ok(())
    }

    fn copy(&self, file: &Moved) -> Result<(), AccessError> {
        if file.from != file.to {
            fs::copy(path_of(&file.from), make(&file.to)?).map_err(AccessError::failed)?;
        }
        let mut known = self.copied.lock().expect("a lock");
        assert_eq!(
            known.insert(file.from.clone(), file.clone()),
            None,
            "twice: {file:?}"
        );
        Ok(())
    }
}

impl Target {
    /// Every file it was given, by where it was.
    pub(crate) fn all(&self) -> BTreeSet<String> {
        let written = self.written.lock().expect("a lock");
        let copied = self.copied.lock().expect("a lock");
        written.keys().chain(copied.keys()).cloned().collect()
    }
}

/// The current metadata of a table in a directory.
pub(crate) fn current(table: &Path) -> Metadata {
    let directory = table.join("metadata");
    let files: Vec<Candidate> = fs::read_dir(&directory)
        .expect("a metadata directory")
        .map(|entry| entry.expect("an entry"))
        .map(|entry| Candidate {
            location: format!("file:{}", entry.path().display()),
            modified_ms: None,
        })
        .collect();
    let hint = fs::read(directory.join("version-hint.text")).ok();
    let place = directory.display().to_string();
    let choice = choose(&place, &files, hint.as_deref(), &Local).expect("a choice");
    Metadata::fetch(&choice.location, &Local).expect("metadata")
}

/// Every file that a table needs.
pub(crate) fn needed(metadata: &Metadata) -> Vec<FileRef> {
    let mut files = Vec::new();
    let totals = files_of(metadata, &Selection::Retained, &Local, &mut |file| {
        files.push(file);
        Ok(())
    })
    .expect("files");
    assert_eq!(totals.files, files.len() as u64);
    files
}

/// Moves a table, and sees to it that exactly the files it needs were moved.
pub(crate) fn moved(
    metadata: &Metadata,
    prefixes: &[(&str, &str)],
    uuid: TableUuid,
) -> Result<(Relocated, Target), Error> {
    let relocation = Relocation {
        prefixes: Prefixes::new(prefixes.iter().copied())?,
        uuid,
    };
    let target = Target::default();
    let relocated = relocate(metadata, &relocation, &Local, &target)?;
    let wanted: BTreeSet<String> = needed(metadata)
        .into_iter()
        .filter(|file| file.kind != Kind::OldMetadata || path_of(&file.location).exists())
        .map(|file| file.location)
        .collect();
    assert_eq!(target.all(), wanted);
    assert_eq!(relocated.rewritten + relocated.copied, wanted.len() as u64);
    Ok((relocated, target))
}
