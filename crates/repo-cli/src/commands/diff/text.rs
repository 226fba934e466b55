//! What differs inside a file: lines added and removed, and the unified text.

use std::time::Duration;

use repo_core::{Change, ChangeKind, Entry, EntryType, Error, SnapshotView};
use similar::{ChangeTag, TextDiff};
use tokio::runtime::Handle;

use crate::show;

/// Longest file that is compared line by line, in bytes.
const TEXT_MAX: u64 = 4 << 20;
/// After so long the rest of a file counts as changed.
const PATIENCE: Duration = Duration::from_secs(2);
/// Lines shown around a change.
const CONTEXT: usize = 3;

/// What is to be told of each file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    /// How many lines differ.
    Counts,
    /// The lines.
    Patch,
}

/// How the text of a file differs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TextChange {
    pub(super) added: u64,
    pub(super) removed: u64,
    /// Unified text.
    pub(super) patch: Option<String>,
}

/// Reads both sides of changed files.
pub(super) struct Reader {
    pub(super) from: SnapshotView,
    pub(super) to: SnapshotView,
    /// Reads are waited for on the thread that compares.
    pub(super) handle: Handle,
}

impl Reader {
    /// How the text of a file differs. Nothing when it is no text, too long or no file.
    pub(super) fn compare(
        &self,
        change: &Change,
        detail: Detail,
    ) -> Result<Option<TextChange>, Error> {
        if matches!(change.kind, ChangeKind::Modified { content: false, .. }) {
            return Ok(None);
        }
        let sides = [&change.before, &change.after];
        let fits = |entry: &&Option<Entry>| {
            let entry = entry.as_ref();
            entry.is_none_or(|entry| entry.kind == EntryType::File && entry.size <= TEXT_MAX)
        };
        if !sides.iter().all(fits) {
            return Ok(None);
        }
        let before = self.text(&self.from, change.before.as_ref())?;
        let after = self.text(&self.to, change.after.as_ref())?;
        Ok(match (before, after) {
            (Some(before), Some(after)) => Some(text_change(change, &before, &after, detail)),
            _ => None,
        })
    }

    fn text(&self, view: &SnapshotView, entry: Option<&Entry>) -> Result<Option<String>, Error> {
        let Some(entry) = entry else {
            return Ok(Some(String::new()));
        };
        let bytes = self.handle.block_on(view.read(entry, 0..entry.size))?;
        // As in other programs, a NUL is the mark of what is no text.
        Ok(match String::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => Some(text),
            _ => None,
        })
    }
}

fn text_change(change: &Change, before: &str, after: &str, detail: Detail) -> TextChange {
    let diff = TextDiff::configure()
        .timeout(PATIENCE)
        .diff_lines(before, after);
    let (mut added, mut removed) = (0, 0);
    for op in diff.ops() {
        for line in diff.iter_changes(op) {
            match line.tag() {
                ChangeTag::Insert => added += 1,
                ChangeTag::Delete => removed += 1,
                ChangeTag::Equal => {}
            }
        }
    }
    let patch = (detail == Detail::Patch).then(|| {
        let path = show::path(&change.path);
        let name = |side: &Option<Entry>, letter: char| match side {
            Some(_) => format!("{letter}/{path}"),
            None => "/dev/null".to_owned(),
        };
        let (from, to) = (name(&change.before, 'a'), name(&change.after, 'b'));
        let mut unified = diff.unified_diff();
        unified.context_radius(CONTEXT).header(&from, &to);
        unified.to_string()
    });
    TextChange {
        added,
        removed,
        patch,
    }
}

/// A bar of signs for so many lines added and removed, as long as they are many, in `width` columns.
pub(super) fn bar(added: u64, removed: u64, width: u64) -> String {
    let all = added + removed;
    let scaled = |count: u64| match all {
        _ if all <= width => count,
        _ if count == 0 => 0,
        _ => (count * width / all).max(1),
    };
    let signs = |sign: &str, count: u64| sign.repeat(usize::try_from(count).unwrap_or(0));
    signs("+", scaled(added)) + &signs("-", scaled(removed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_never_longer_than_its_width() {
        assert_eq!(bar(3, 2, 40), "+++--");
        assert_eq!(bar(0, 0, 40), "");
        assert_eq!(bar(1000, 1, 10), "+++++++++-");
        assert_eq!(bar(0, 1_000_000, 5), "-----");
    }
}
