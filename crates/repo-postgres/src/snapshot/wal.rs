//! The log that makes a backup consistent, copied from the server's own directory.

use std::io;
use std::path::PathBuf;

use repo_core::{Builder, Entry, LocalFile, ReadAt};

use crate::description::Description;
use crate::error::{Error, Result};
use crate::lsn::{segment_name, segments};

/// Bytes of the header of a segment's first page.
const HEADER: usize = 40;
/// Set in the header of a segment's first page.
const LONG_HEADER: u16 = 2;

/// The timeline on which a backup started, by its `backup_label`.
pub(super) fn timeline(label: &[u8]) -> Result<u32> {
    let text = String::from_utf8_lossy(label);
    text.lines()
        .find_map(|line| line.strip_prefix("START TIMELINE: "))
        .and_then(|number| number.trim().parse().ok())
        .ok_or_else(|| Error::answer("backup_label", text.escape_debug().to_string()))
}

/// The log of one backup.
pub(super) struct Wal<'w> {
    pub(super) builder: &'w Builder<'w>,
    pub(super) description: &'w Description,
    pub(super) directory: PathBuf,
}

impl Wal<'_> {
    /// Stores the segments from start to end of the backup, and all histories of timelines. Each is
    /// marked as archived, so that a restored cluster does not send it again. Gives the segments'
    /// names.
    pub(super) fn store(&self) -> Result<Vec<String>> {
        let known = self.description;
        let size = known.wal_segment_size;
        let mut names = Vec::new();
        for number in segments(known.start_lsn, known.stop_lsn, size) {
            let name = segment_name(known.timeline, number, size);
            self.segment(&name, number)?;
            names.push(name);
        }
        let listed = std::fs::read_dir(&self.directory)
            .map_err(|error| Error::io("list", &self.directory, error))?;
        for entry in listed {
            let entry = entry.map_err(|error| Error::io("list", &self.directory, error))?;
            if let Some(name) = entry.file_name().to_str().filter(|name| is_history(name)) {
                let file = self.open(name)?;
                self.file(name, &file)?;
            }
        }
        Ok(names)
    }

    fn segment(&self, name: &str, number: u64) -> Result<()> {
        let gone = || Error::WalGone {
            segment: name.to_owned(),
        };
        let file = self.open(name)?;
        let first = u64::from(self.description.wal_segment_size) * number;
        if file.size() != u64::from(self.description.wal_segment_size) || !self.is(&file, first)? {
            return Err(gone());
        }
        self.file(name, &file)?;
        // A segment that is not needed any more gets another name and other content.
        let still = self.open(name)?;
        if still.entry().inode != file.entry().inode || !self.is(&file, first)? {
            return Err(gone());
        }
        Ok(())
    }

    fn open(&self, name: &str) -> Result<LocalFile> {
        let path = self.directory.join(name);
        match self.builder.open_local(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::WalGone {
                segment: name.to_owned(),
            }),
            opened => opened.map_err(|error| Error::io("open", path, error)),
        }
    }

    /// Whether the file is the segment of this cluster that begins at `first`.
    fn is(&self, file: &LocalFile, first: u64) -> Result<bool> {
        let mut header = [0; HEADER];
        let read = file
            .read_at(&mut header, 0)
            .map_err(|error| Error::io("read", &self.directory, error))?;
        let word = |at: usize| -> u64 {
            let bytes: [u8; 8] = header[at..at + 8].try_into().unwrap_or_default();
            u64::from_le_bytes(bytes)
        };
        let long = u16::from_le_bytes([header[2], header[3]]) & LONG_HEADER != 0;
        let ours = word(24).to_string() == self.description.system_identifier;
        Ok(read == HEADER && long && ours && word(8) == first)
    }

    fn file(&self, name: &str, file: &LocalFile) -> Result<()> {
        let path = format!("pg_wal/{name}");
        let before = self.builder.before(path.as_bytes())?;
        let entry = file.entry().clone();
        self.builder
            .store_at(path.as_bytes(), entry, file.size(), file, before.as_ref())?;
        let done = format!("pg_wal/archive_status/{name}.done");
        let empty = Entry {
            size: 0,
            inode: None,
            ctime: None,
            ..file.entry().clone()
        };
        self.builder.put(done.as_bytes(), empty)?;
        Ok(())
    }
}

/// Whether the name is that of a timeline's history, as in `00000002.history`.
fn is_history(name: &str) -> bool {
    name.strip_suffix(".history").is_some_and(|timeline| {
        timeline.len() == 8 && timeline.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeline_is_read_from_the_label() {
        let label = b"START WAL LOCATION: 0/2000028 (file 000000030000000000000002)\n\
                      BACKUP METHOD: streamed\nSTART TIMELINE: 3\n";
        assert_eq!(timeline(label).expect("a timeline"), 3);
        assert!(timeline(b"START WAL LOCATION: 0/2000028\n").is_err());
        assert!(timeline(b"").is_err());
    }

    #[test]
    fn histories_are_known_by_their_name() {
        assert!(is_history("00000002.history"));
        for other in [
            "00000002",
            "2.history",
            "0000000G.history",
            "00000002.history.x",
            "",
        ] {
            assert!(!is_history(other), "{other}");
        }
    }
}
