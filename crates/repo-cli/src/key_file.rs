//! The generated key of the default repository, in a file beside it.
//!
//! A rotation of the keys writes the next key to a file of its own first. It takes the place of the
//! key when it opens the repository: whatever stops in between, one of the two files has the key.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::exit::Failure;
use crate::password;
use crate::show;

/// Random bytes of a generated key; the file holds them in hexadecimal.
const KEY_BYTES: usize = 32;

/// Where the key that is to replace the one in `file` waits.
pub(crate) fn next(file: &Path) -> PathBuf {
    file.with_extension("key.next")
}

/// Puts the next key in the place of the one in `file`, durably. That it is done already is no error:
/// whoever opens the repository meanwhile does it, too.
pub(crate) fn adopt(file: &Path) -> Result<(), Failure> {
    let moved = match fs::rename(next(file), file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        moved => moved,
    };
    let directory = file.parent().unwrap_or(Path::new("/"));
    let synced = moved.and_then(|()| File::open(directory)?.sync_all());
    synced.map_err(|error| {
        let (next, file) = (show::local_path(&next(file)), show::local_path(file));
        Failure::because(
            format!("cannot rename the new key {next} to {file}"),
            &error,
        )
    })
}

/// Writes a new key to a file only its owner can read, durably, before anything depends on it.
/// A key that is there already is used: an earlier run may have been stopped in between.
pub(crate) fn generate(file: &Path) -> Result<Vec<u8>, Failure> {
    let shown = show::local_path(file);
    let failed =
        |error: io::Error| Failure::because(format!("cannot write the key file {shown}"), &error);
    let directory = file.parent().unwrap_or(Path::new("/"));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(failed)?;
    let mut random = [0; KEY_BYTES];
    getrandom::fill(&mut random).map_err(|error| failed(io::Error::other(error)))?;
    let key: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut options = File::options();
    match options.write(true).create_new(true).mode(0o600).open(file) {
        Ok(mut made) => {
            made.write_all(format!("{key}\n").as_bytes())
                .and_then(|()| made.sync_all())
                .and_then(|()| File::open(directory)?.sync_all())
                .map_err(failed)?;
            Ok(key.into_bytes())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => password::read_file(file),
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_key_is_private_and_made_once() {
        use std::os::unix::fs::PermissionsExt as _;

        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("repo/default.key");
        let key = generate(&file).expect("a key");
        assert_eq!(key.len(), 2 * KEY_BYTES);
        let mode = fs::metadata(&file).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(generate(&file), Ok(key));
    }

    #[test]
    fn the_next_key_takes_its_place_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("default.key");
        let key = generate(&file).expect("a key");
        let next_key = generate(&next(&file)).expect("a key");
        assert_ne!(key, next_key);
        adopt(&file).expect("adopted");
        adopt(&file).expect("done already");
        assert_eq!(password::read_file(&file), Ok(next_key));
        assert!(!next(&file).exists());
    }
}
