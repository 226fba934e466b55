//! Finds the files of a log: the newest complete checkpoint, and the commits after it.
//!
//! ```text
//! _delta_log/N.json                                  commit N, 20 digits
//!            N.checkpoint.parquet                    everything up to N
//!            N.checkpoint.PART.PARTS.parquet         a part of it, 10 digits each
//!            N.checkpoint.UUID.{json,parquet}        the same, with sidecars
//!            N.crc                                   sums of commit N
//!            _sidecars/NAME.parquet                  files of a checkpoint
//!            _last_checkpoint                        a hint, which may be wrong
//! ```

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use serde::Deserialize;

use super::action::{self, Action};
use crate::error::{Error, Result};
use crate::lake::{Lake, ObjectInfo};
use crate::limits::{COMMITS_MAX, HINT_MAX};
use crate::location::Location;
use crate::table::At;

/// Directory of the log, below the table.
pub(crate) const LOG: &str = "_delta_log";

/// What the name of a file in a log says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LogName {
    Commit(i64),
    Sums(i64),
    /// A whole checkpoint in one file, by version.
    Classic(i64),
    Part {
        version: i64,
        part: u32,
        parts: u32,
    },
    /// A checkpoint whose files may be in sidecars.
    Named(i64),
    /// Commits that were summed up, which nobody needs.
    Compacted,
    Hint,
    /// Commits that a catalog may or may not have accepted.
    Staged,
    Sidecar,
    Other,
}

/// Reads a name below `_delta_log`.
pub(crate) fn log_name(name: &str) -> LogName {
    if name == "_last_checkpoint" {
        return LogName::Hint;
    }
    if let Some((directory, _)) = name.split_once('/') {
        return match directory {
            "_sidecars" => LogName::Sidecar,
            "_staged_commits" | "_commits" => LogName::Staged,
            _ => LogName::Other,
        };
    }
    let parts: Vec<&str> = name.split('.').collect();
    let Some(version) = parts.first().and_then(|first| digits(first, 20)) else {
        return LogName::Other;
    };
    let number = |text| digits(text, 10).and_then(|number| u32::try_from(number).ok());
    match parts.get(1..).unwrap_or_default() {
        ["json"] => LogName::Commit(version),
        ["crc"] => LogName::Sums(version),
        ["checkpoint", "parquet"] => LogName::Classic(version),
        ["checkpoint", part, parts, "parquet"] => match (number(part), number(parts)) {
            (Some(part), Some(parts)) if part >= 1 && part <= parts => LogName::Part {
                version,
                part,
                parts,
            },
            _ => LogName::Other,
        },
        ["checkpoint", _, "json" | "parquet"] => LogName::Named(version),
        [to, "compacted", "json"] if digits(to, 20).is_some() => LogName::Compacted,
        _ => LogName::Other,
    }
}

fn digits(text: &str, count: usize) -> Option<i64> {
    let plain = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// A checkpoint with all its parts.
#[derive(Debug, Clone)]
pub(crate) struct Checkpoint {
    pub(crate) parts: Vec<ObjectInfo>,
}

/// The files that describe one version, and those of older ones.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) version: i64,
    pub(crate) checkpoint: Option<Checkpoint>,
    /// Commits after the checkpoint, without a gap, up to the version.
    pub(crate) commits: Vec<ObjectInfo>,
    /// What only older versions need, where they are wanted.
    pub(crate) older: Older,
    pub(crate) sums: Vec<ObjectInfo>,
}

/// What is left of the log before the checkpoint that a version is read from.
#[derive(Debug, Default)]
pub(crate) struct Older {
    /// Commits by version; that of the checkpoint's own version is wanted for its time in any case.
    pub(crate) commits: Vec<ObjectInfo>,
    /// Complete checkpoints by version.
    pub(crate) checkpoints: Vec<Checkpoint>,
    /// The commits reach back to the first one of the table.
    pub(crate) whole: bool,
}

impl Log {
    /// The commit that made the version, where it is left.
    pub(crate) fn last(&self) -> Option<&ObjectInfo> {
        let last = self.commits.last().or(self.older.commits.last())?;
        (log_name(last.location.name()) == LogName::Commit(self.version)).then_some(last)
    }

    /// All files of it, without sidecars, which only checkpoints name.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &ObjectInfo> {
        let checkpoints = self.checkpoint.iter().chain(&self.older.checkpoints);
        let commits = self.commits.iter().chain(&self.older.commits);
        let parts = checkpoints.flat_map(|checkpoint| &checkpoint.parts);
        commits.chain(parts).chain(&self.sums)
    }
}

/// All that a listing shows.
#[derive(Default)]
struct Listing {
    commits: BTreeMap<i64, ObjectInfo>,
    sums: BTreeMap<i64, ObjectInfo>,
    classic: BTreeMap<i64, ObjectInfo>,
    parts: BTreeMap<(i64, u32), BTreeMap<u32, ObjectInfo>>,
    named: BTreeMap<i64, ObjectInfo>,
}

#[derive(Deserialize)]
struct Hint {
    version: i64,
}

impl Log {
    /// Lists the log of a table and chooses what describes the version asked for; with `history` also
    /// what is left of older ones.
    pub(crate) fn find(lake: &Lake, table: &Location, at: &At, history: bool) -> Result<Self> {
        let directory = table.join(LOG)?;
        if *at == At::Newest
            && !history
            && let Some(version) = hint(lake, &directory)
        {
            let listing = Listing::read(lake, &directory, Some(version))?;
            // A hint may be wrong in any way; then the log is listed whole.
            if let Ok(log) = listing.choose(lake, table, at, history) {
                return Ok(log);
            }
        }
        Listing::read(lake, &directory, None)?.choose(lake, table, at, history)
    }
}

/// The version of a checkpoint that a writer left word of. A hint that cannot be read is none.
fn hint(lake: &Lake, directory: &Location) -> Option<i64> {
    let place = directory.join("_last_checkpoint").ok()?;
    let bytes = lake.read(&place, HINT_MAX).ok()?;
    let hint: Hint = serde_json::from_slice(&bytes).ok()?;
    (hint.version >= 0).then_some(hint.version)
}

impl Listing {
    fn read(lake: &Lake, directory: &Location, from: Option<i64>) -> Result<Self> {
        let mut listing = Self::default();
        let mut many = false;
        let from = from.map(|version| format!("{version:020}"));
        lake.list(directory, from.as_deref(), |object| {
            let Some(name) = directory.relative(&object.location) else {
                return ControlFlow::Continue(());
            };
            match log_name(name) {
                LogName::Commit(version) => {
                    listing.commits.insert(version, object);
                }
                LogName::Sums(version) => {
                    listing.sums.insert(version, object);
                }
                LogName::Classic(version) => {
                    listing.classic.insert(version, object);
                }
                LogName::Named(version) => {
                    listing.named.insert(version, object);
                }
                LogName::Part {
                    version,
                    part,
                    parts,
                } => {
                    let known = listing.parts.entry((version, parts)).or_default();
                    known.insert(part, object);
                }
                _ => {}
            }
            many = listing.commits.len() > COMMITS_MAX || listing.parts.len() > COMMITS_MAX;
            match many {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })?;
        match many {
            true => Err(Error::malformed(directory, "it has too many commits")),
            false => Ok(listing),
        }
    }

    fn choose(mut self, lake: &Lake, table: &Location, at: &At, history: bool) -> Result<Log> {
        let newest = self.newest().ok_or_else(|| Error::NoTable {
            url: table.to_string(),
        })?;
        let missing = |version: String| Error::NoVersion {
            table: table.to_string(),
            version,
        };
        let version = match at {
            At::Newest => newest,
            At::Version(version) if *version <= newest => *version,
            At::Version(version) => return Err(missing(version.to_string())),
            At::Time(time) => self
                .at_time(lake, *time)?
                .ok_or_else(|| missing("of that time".to_owned()))?,
            At::Ref(name) => return Err(missing(name.clone())),
        };
        let (start, checkpoint) = match self.checkpoint(version) {
            Some((start, checkpoint)) => (start, Some(checkpoint)),
            None => (-1, None),
        };
        let mut commits = Vec::new();
        for wanted in start + 1..=version {
            let Some(object) = self.commits.remove(&wanted) else {
                return Err(match checkpoint {
                    None if commits.is_empty() => missing(version.to_string()),
                    _ => Error::NotFound {
                        url: format!("{table}/{LOG}/{wanted:020}.json"),
                    },
                });
            };
            commits.push(object);
        }
        let sums = match history {
            true => std::mem::take(&mut self.sums),
            false => self.sums.split_off(&start.max(0)),
        };
        let sums = sums.into_iter().take_while(|(of, _)| *of <= version);
        Ok(Log {
            version,
            checkpoint,
            commits,
            older: self.older(start, history),
            sums: sums.map(|(_, object)| object).collect(),
        })
    }

    /// What is left up to the checkpoint of version `start`.
    fn older(mut self, start: i64, history: bool) -> Older {
        if !history {
            return Older {
                commits: self.commits.remove(&start).into_iter().collect(),
                ..Older::default()
            };
        }
        let mut checkpoints = Vec::new();
        // Several kinds of one version, too: each may be what a reader takes.
        while let Some((_, checkpoint)) = self.checkpoint(start) {
            checkpoints.push(checkpoint);
        }
        checkpoints.reverse();
        let commits = self.commits.range(..=start);
        let whole = (0..=start).eq(commits.map(|(version, _)| *version));
        let commits = self.commits.into_iter();
        let commits = commits.take_while(|(of, _)| *of <= start);
        Older {
            commits: commits.map(|(_, object)| object).collect(),
            checkpoints,
            whole,
        }
    }

    fn newest(&self) -> Option<i64> {
        let last = |map: &BTreeMap<i64, ObjectInfo>| map.keys().next_back().copied();
        let parts = self.parts.keys().next_back().map(|(version, _)| *version);
        let all = [last(&self.commits), last(&self.classic), last(&self.named)];
        all.into_iter().flatten().chain(parts).max()
    }

    /// The newest complete checkpoint up to `version`. Of several kinds the one that names its content
    /// is best: writers of the others may have raced.
    fn checkpoint(&mut self, version: i64) -> Option<(i64, Checkpoint)> {
        let last = |map: &BTreeMap<i64, ObjectInfo>| {
            map.range(..=version)
                .next_back()
                .map(|(version, _)| *version)
        };
        let complete = self.parts.iter().rev().find(|((of, parts), known)| {
            *of <= version && known.len() == usize::try_from(*parts).unwrap_or(usize::MAX)
        });
        let complete = complete.map(|(key, _)| *key);
        let (named, classic) = (last(&self.named), last(&self.classic));
        let newest = [named, classic, complete.map(|(version, _)| version)];
        let newest = newest.into_iter().flatten().max()?;
        let parts = if named == Some(newest) {
            vec![self.named.remove(&newest)?]
        } else if let Some(key) = complete.filter(|(version, _)| *version == newest) {
            self.parts.remove(&key)?.into_values().collect()
        } else {
            vec![self.classic.remove(&newest)?]
        };
        Some((newest, Checkpoint { parts }))
    }

    /// The newest version made at `time` or before. Times of a log grow with its versions.
    fn at_time(&self, lake: &Lake, time: i64) -> Result<Option<i64>> {
        let commits: Vec<_> = self.commits.iter().collect();
        let (mut low, mut high) = (0, commits.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let Some((_, object)) = commits.get(middle) else {
                break;
            };
            if commit_time(lake, object)? <= time {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let before = low.checked_sub(1).and_then(|last| commits.get(last));
        Ok(before.map(|(version, _)| **version))
    }
}

/// When a commit was made: what it says itself where the table demands that, else when it was written.
pub(crate) fn commit_time(lake: &Lake, commit: &ObjectInfo) -> Result<i64> {
    // It is the first action where it counts.
    const FIRST: u64 = 64 << 10;
    let head = lake.read_range(&commit.location, 0..FIRST.min(commit.size))?;
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let said = match action::decode(line) {
        Ok(Some(Action::CommitInfo(info))) => info.in_commit_timestamp,
        // The line may be cut; then it is no commit info of a sane size.
        _ => None,
    };
    let modified = commit.modified;
    Ok(said.unwrap_or_else(|| {
        modified
            .seconds
            .saturating_mul(1000)
            .saturating_add(i64::from(modified.nanos / 1_000_000))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        let zero = "00000000000000000007";
        for (name, meant) in [
            (format!("{zero}.json"), LogName::Commit(7)),
            (format!("{zero}.crc"), LogName::Sums(7)),
            (format!("{zero}.checkpoint.parquet"), LogName::Classic(7)),
            (
                format!("{zero}.checkpoint.0000000001.0000000003.parquet"),
                LogName::Part {
                    version: 7,
                    part: 1,
                    parts: 3,
                },
            ),
            (
                format!("{zero}.checkpoint.0000000004.0000000003.parquet"),
                LogName::Other,
            ),
            (
                format!("{zero}.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.json"),
                LogName::Named(7),
            ),
            (format!("{zero}.{zero}.compacted.json"), LogName::Compacted),
            (format!(".{zero}.json.crc"), LogName::Other),
            (format!("{zero}.json.tmp"), LogName::Other),
            ("7.json".to_owned(), LogName::Other),
            ("+0000000000000000007.json".to_owned(), LogName::Other),
            ("99999999999999999999.json".to_owned(), LogName::Other),
            ("_last_checkpoint".to_owned(), LogName::Hint),
            (format!("_staged_commits/{zero}.x.json"), LogName::Staged),
            ("_sidecars/x.parquet".to_owned(), LogName::Sidecar),
        ] {
            assert_eq!(log_name(&name), meant, "{name}");
        }
    }
}
