//! What a restored data directory holds, for its manifest.

use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::error::{Error, Result};
use crate::limits::{BATCH, DEPTH_MAX};
use crate::manifest::File;

/// Bytes read at once.
const BUFFER: usize = 256 << 10;
/// Names at the top that a manifest does not have: the log has ranges, and the manifest is itself.
const LEFT_OUT: [&str; 2] = ["pg_wal", "backup_manifest"];

/// Calls `each` with every file below the data directory, links to tablespaces followed.
pub(super) fn each_file(pgdata: &Path, mut each: impl FnMut(&File) -> Result<()>) -> Result<()> {
    let mut waiting = vec![(Vec::new(), pgdata.to_owned(), 0)];
    while let Some((path, directory, depth)) = waiting.pop() {
        if depth > DEPTH_MAX {
            let error = io::Error::other("it is too deep");
            return Err(Error::io("enter", directory, error));
        }
        let failed = |error| Error::io("list", &directory, error);
        let mut batch = Vec::new();
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if depth == 0 && LEFT_OUT.iter().any(|left| name == *left) {
                continue;
            }
            let mut below: Vec<u8> = path.clone();
            if depth > 0 {
                below.push(b'/');
            }
            below.extend_from_slice(name.as_bytes());
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_file() {
                batch.push((below, entry.path()));
            } else if kind.is_dir() || (kind.is_symlink() && path == b"pg_tblspc") {
                waiting.push((below, entry.path(), depth + 1));
            }
            if batch.len() == BATCH {
                hand_out(std::mem::take(&mut batch), &mut each)?;
            }
        }
        hand_out(batch, &mut each)?;
    }
    Ok(())
}

fn hand_out(
    batch: Vec<(Vec<u8>, PathBuf)>,
    each: &mut impl FnMut(&File) -> Result<()>,
) -> Result<()> {
    let files: Vec<Result<File>> = batch
        .into_par_iter()
        .map(|(path, source)| one_file(path, &source))
        .collect();
    for file in files {
        each(&file?)?;
    }
    Ok(())
}

/// The file at `source`, called `path` in the manifest.
pub(super) fn one_file(path: Vec<u8>, source: &Path) -> Result<File> {
    sum_up(path, source).map_err(|error| Error::io("read", source, error))
}

fn sum_up(path: Vec<u8>, source: &Path) -> io::Result<File> {
    let mut file = fs::File::open(source)?;
    let (mut buffer, mut size, mut checksum) = (vec![0; BUFFER], 0, 0);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        size += read as u64;
        checksum = crc32c::crc32c_append(checksum, &buffer[..read]);
    }
    Ok(File {
        path,
        size,
        mtime: file.metadata()?.mtime(),
        checksum,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_are_listed_but_the_log() {
        let root = tempfile::tempdir().expect("a directory");
        let (data, fast) = (root.path().join("data"), root.path().join("fast"));
        for directory in [
            "data/base/5",
            "data/pg_wal",
            "data/pg_tblspc",
            "fast/PG_15_1",
        ] {
            fs::create_dir_all(root.path().join(directory)).expect("a directory");
        }
        for file in [
            "data/PG_VERSION",
            "data/base/5/1",
            "data/pg_wal/0",
            "fast/PG_15_1/2",
        ] {
            fs::write(root.path().join(file), "abc").expect("written");
        }
        fs::write(data.join("backup_manifest"), "old").expect("written");
        std::os::unix::fs::symlink(&fast, data.join("pg_tblspc/7")).expect("a link");
        std::os::unix::fs::symlink("/etc", data.join("elsewhere")).expect("a link");
        let mut found = Vec::new();
        each_file(&data, |file| {
            assert_eq!((file.size, file.checksum), (3, 0x364B_3FB7));
            found.push(String::from_utf8_lossy(&file.path).into_owned());
            Ok(())
        })
        .expect("listed");
        found.sort_unstable();
        assert_eq!(found, ["PG_VERSION", "base/5/1", "pg_tblspc/7/PG_15_1/2"]);
    }
}
