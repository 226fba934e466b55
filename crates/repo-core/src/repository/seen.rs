//! The newest commit this client has seen, kept in the local cache to notice a log that was
//! rolled back.

use std::fs;
use std::io::Write;
use std::path::Path;

use bincode::{Decode, Encode};
use repo_format::commit::CommitHash;

const FILE: &str = "seen";
/// The record is 40 bytes and a few of framing; a longer file is not ours.
const MAX: usize = 256;

/// Number and hash of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Seen {
    pub(crate) number: u64,
    pub(crate) hash: CommitHash,
}

impl Seen {
    /// What was seen last; `None` on a cold or damaged cache.
    pub(crate) fn load(cache: &Path) -> Option<Self> {
        let bytes = fs::read(cache.join(FILE)).ok()?;
        let config = bincode::config::standard().with_limit::<MAX>();
        let (seen, len) = bincode::decode_from_slice(&bytes, config).ok()?;
        (len == bytes.len()).then_some(seen)
    }

    /// Remembers this commit. Failure to do so costs a later check, not this operation.
    pub(crate) fn store(self, cache: &Path) {
        let config = bincode::config::standard().with_limit::<MAX>();
        let Ok(bytes) = bincode::encode_to_vec(self, config) else {
            return;
        };
        let write = || -> std::io::Result<()> {
            fs::create_dir_all(cache)?;
            let mut file = tempfile::NamedTempFile::new_in(cache)?;
            file.write_all(&bytes)?;
            file.persist(cache.join(FILE))?;
            Ok(())
        };
        if let Err(error) = write() {
            tracing::debug!(%error, "could not remember the newest commit");
        }
    }
}
