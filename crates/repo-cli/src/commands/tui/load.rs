//! What the screens read: directories, versions of a file, the beginning of its content.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use repo_core::{BlobId, Entry, EntryType, Error, Repository, SnapshotRef, SnapshotView};
use tokio::runtime::Handle;

use crate::show;

/// Entries of a directory that are shown; of the others only that they are there.
const ENTRIES_MAX: usize = 50_000;
/// Bytes of a file that are shown.
const PREVIEW_BYTES: u64 = 64 << 10;
/// Bytes of a file that are shown when they are no text.
const DUMP_BYTES: usize = 4 << 10;
/// Bytes in a line of what is no text.
const DUMP_LINE: usize = 16;

/// Reads for the thread that shows, which waits for it.
#[derive(Clone)]
pub(super) struct Loader {
    repository: Repository,
    pub(super) handle: Handle,
}

/// Entries of a directory, and whether there are more.
pub(super) type Listing = (Vec<Entry>, bool);

/// A version of a file, and the newest snapshot it is in.
pub(super) struct Version {
    pub(super) view: SnapshotView,
    pub(super) entry: Entry,
    pub(super) content: Option<BlobId>,
    /// Number of snapshots it is in.
    pub(super) count: u64,
    /// When the first and the last of them were taken.
    pub(super) times: (i64, i64),
}

impl Loader {
    pub(super) fn new(repository: Repository, handle: Handle) -> Self {
        Self { repository, handle }
    }

    pub(super) fn repository(&self) -> &Repository {
        &self.repository
    }

    pub(super) fn view(&self, known: &SnapshotRef) -> Result<SnapshotView, Error> {
        self.repository.view(&known.snapshot.id())
    }

    /// What a directory holds, directories first.
    pub(super) fn directory(&self, view: &SnapshotView, path: &[u8]) -> Result<Listing, Error> {
        let listing = Arc::new(Mutex::new((Vec::new(), false)));
        let list = Arc::clone(&listing);
        let visit = Box::new(move |_: &[u8], entry: &Entry| {
            let (entries, more) = &mut *list.lock().unwrap_or_else(PoisonError::into_inner);
            if entries.len() == ENTRIES_MAX {
                *more = true;
                return ControlFlow::Break(());
            }
            // Content is read through a path when it is asked for.
            entries.push(Entry {
                content: None,
                xattrs: None,
                ..entry.clone()
            });
            ControlFlow::Continue(())
        });
        self.handle.block_on(view.walk(path, false, visit))?;
        let mut listing = listing.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut entries, more) = std::mem::take(&mut *listing);
        entries.sort_by_key(|entry| entry.kind != EntryType::Directory);
        Ok((entries, more))
    }

    /// The versions of a path in snapshots of the same host and paths, newest first.
    pub(super) fn versions(&self, view: &SnapshotView, path: &[u8]) -> Result<Vec<Version>, Error> {
        let source = (&view.snapshot().host, &view.snapshot().paths);
        let mut known = self.repository.snapshots();
        known.retain(|known| (&known.snapshot.host, &known.snapshot.paths) == source);
        known.sort_by_key(|known| std::cmp::Reverse(known.snapshot.time_ms));
        let mut versions: Vec<Version> = Vec::new();
        for known in &known {
            let view = self.view(known)?;
            let entry = match self.handle.block_on(view.entry(path)) {
                Ok(entry) => entry,
                Err(Error::UnknownPath { .. }) => continue,
                Err(error) => return Err(error),
            };
            let content = self.repository.content_id(&entry);
            let state = |entry: &Entry| {
                let what = (entry.kind, entry.size, entry.subtree);
                (what, entry.mode, entry.mtime)
            };
            let same = versions
                .iter_mut()
                .find(|known| known.content == content && state(&known.entry) == state(&entry));
            let time = known.snapshot.time_ms;
            match same {
                Some(version) => {
                    version.count += 1;
                    version.times.0 = time;
                }
                None => versions.push(Version {
                    view,
                    entry,
                    content,
                    count: 1,
                    times: (time, time),
                }),
            }
        }
        Ok(versions)
    }

    /// The beginning of a file in lines, as text or in hexadecimal.
    pub(super) fn preview(&self, view: &SnapshotView, path: &[u8]) -> Result<Vec<String>, Error> {
        let entry = self.handle.block_on(view.entry(path))?;
        if entry.kind != EntryType::File {
            let target = entry.target.as_deref().unwrap_or_default();
            return Ok(vec![format!("no file: {}", show::path(target))]);
        }
        let read = view.read(&entry, 0..PREVIEW_BYTES);
        let bytes = self.handle.block_on(read)?;
        let mut lines = lines(&bytes);
        let shown = if is_text(&bytes) {
            bytes.len()
        } else {
            bytes.len().min(DUMP_BYTES)
        };
        if (shown as u64) < entry.size {
            let more = show::bytes(entry.size - shown as u64);
            lines.push(format!("... {more} more"));
        }
        Ok(lines)
    }
}

/// Whether bytes, which may end inside of a character, are text.
fn is_text(bytes: &[u8]) -> bool {
    let valid = match str::from_utf8(bytes) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    };
    valid && !bytes.contains(&0)
}

fn lines(bytes: &[u8]) -> Vec<String> {
    if is_text(bytes) {
        let text = String::from_utf8_lossy(bytes);
        let shown = |line: &str| {
            let tabs = line.split('\t').map(|part| show::path(part.as_bytes()));
            tabs.collect::<Vec<_>>().join("    ").replace("\\\\", "\\")
        };
        return text.lines().map(shown).collect();
    }
    let line = |(at, bytes): (usize, &[u8])| {
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let text: String = bytes
            .iter()
            .map(|byte| {
                if byte.is_ascii_graphic() {
                    char::from(*byte)
                } else {
                    '.'
                }
            })
            .collect();
        format!("{:06x}  {:<47}  {text}", at * DUMP_LINE, hex.join(" "))
    };
    let bytes = &bytes[..bytes.len().min(DUMP_BYTES)];
    bytes.chunks(DUMP_LINE).enumerate().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_shown_as_such_and_all_else_in_hexadecimal() {
        assert_eq!(lines(b"one\n\ttwo\\\n"), ["one", "    two\\"]);
        assert_eq!(lines(b"bell\x07"), ["bell\\u{7}"]);
        let dump = lines(&[0, 65, 255]);
        assert_eq!(dump, [format!("000000  {:<47}  .A.", "00 41 ff")]);
        // The end of a preview may cut a character.
        assert_eq!(lines("a\u{fc}".as_bytes()), ["a\u{fc}"]);
        assert!(is_text(&"a\u{fc}".as_bytes()[..2]));
    }
}
