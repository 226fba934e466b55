//! The current version of a table that no catalog knows: among the files of its metadata directory.

use std::fmt;

use super::limits::CANDIDATES_READ_MAX;
use super::metadata::Metadata;
use super::{Error, Fetch, Result};

/// A file of a metadata directory, as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its location.
    pub location: String,
    /// When it was written, in milliseconds since 1970, if the store tells.
    pub modified_ms: Option<i64>,
}

/// Why a version was taken for the current one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// The version hint names it.
    Hint,
    /// It has the version after that of the hint, which its writer did not come to raise.
    AfterHint {
        /// What the hint says.
        hint: u64,
    },
    /// It has the highest version.
    Highest {
        /// How many files were there.
        of: usize,
    },
    /// Of several that could be, it is the one that the others' logs do not name and that changed last.
    NewestInLog {
        /// How many were read.
        of: usize,
    },
}

/// The version that is taken for the current one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Its metadata.
    pub location: String,
    /// Why.
    pub why: Why,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let location = &self.location;
        match &self.why {
            Why::Hint => write!(f, "{location}: the version hint names it"),
            Why::AfterHint { hint } => {
                write!(
                    f,
                    "{location}: it follows version {hint}, which the version hint names"
                )
            }
            Why::Highest { of } => {
                write!(f, "{location}: the highest version of {of} metadata files")
            }
            Why::NewestInLog { of } => write!(
                f,
                "{location}: of {of} metadata files that may be current it changed last, and no other's \
                 metadata log names it"
            ),
        }
    }
}

const ENDINGS: [&str; 3] = [".gz.metadata.json", ".metadata.json.gz", ".metadata.json"];

fn name_of(location: &str) -> &str {
    location.rsplit('/').next().unwrap_or(location)
}

fn stem(location: &str) -> Option<&str> {
    let name = name_of(location);
    ENDINGS.iter().find_map(|ending| name.strip_suffix(ending))
}

/// The version in the name of a metadata file: `v7.metadata.json` and `00007-<uuid>.metadata.json` have 7,
/// compressed or not. None: it is no metadata file.
pub fn version_of(location: &str) -> Option<u64> {
    let stem = stem(location)?;
    let digits = match stem.strip_prefix('v') {
        Some(digits) => digits,
        None => stem.split_once('-').map_or(stem, |(digits, _)| digits),
    };
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| digits.parse().ok()).flatten()
}

/// Chooses the current version among the files of a metadata directory at `place`: the one that the version
/// hint names or the last that follows it without a gap, else the one with the highest version. Where several
/// have it, or a lower one was written later, those are read and asked by their logs which came after which.
pub fn choose(
    place: &str,
    files: &[Candidate],
    hint: Option<&[u8]>,
    source: &dyn Fetch,
) -> Result<Choice> {
    let mut all: Vec<(&Candidate, u64)> = files
        .iter()
        .filter_map(|file| Some((file, version_of(&file.location)?)))
        .collect();
    if let Some(choice) = hint.and_then(|hint| by_hint(&all, hint)) {
        return Ok(choice);
    }
    // The highest first, then those written last.
    all.sort_by_key(|(file, version)| std::cmp::Reverse((*version, file.modified_ms)));
    let Some((first, highest)) = all.first().copied() else {
        let place = place.to_owned();
        return Err(Error::NoMetadata { place });
    };
    let may_be: Vec<&Candidate> = all
        .iter()
        .filter(|(file, version)| *version == highest || file.modified_ms > first.modified_ms)
        .map(|(file, _)| *file)
        .collect();
    if let [only] = may_be[..] {
        return Ok(Choice {
            location: only.location.clone(),
            why: Why::Highest { of: all.len() },
        });
    }
    newest(place, &may_be, source)
}

/// Only directories that Hadoop tables live in have a hint, and their files are named by version alone.
fn by_hint(all: &[(&Candidate, u64)], hint: &[u8]) -> Option<Choice> {
    let hint = std::str::from_utf8(hint).ok()?.trim();
    let named = |location: &str| {
        let name = name_of(location);
        name == hint || stem(location) == Some(hint)
    };
    if let Some((file, _)) = all.iter().find(|(file, _)| named(&file.location)) {
        return Some(Choice {
            location: file.location.clone(),
            why: Why::Hint,
        });
    }
    let hinted: u64 = hint.parse().ok()?;
    let plain = |wanted: u64| {
        all.iter()
            .find(|(file, version)| *version == wanted && name_of(&file.location).starts_with('v'))
    };
    let mut last = (plain(hinted)?, hinted);
    while let Some(next) = last
        .1
        .checked_add(1)
        .and_then(|next| Some((plain(next)?, next)))
    {
        last = next;
    }
    Some(Choice {
        location: last.0.0.location.clone(),
        why: if last.1 == hinted {
            Why::Hint
        } else {
            Why::AfterHint { hint: hinted }
        },
    })
}

/// The one that no log of the others names; of several the one that changed last.
fn newest(place: &str, may_be: &[&Candidate], source: &dyn Fetch) -> Result<Choice> {
    let mut read: Vec<Metadata> = Vec::new();
    let mut failure = None;
    for file in may_be.iter().take(CANDIDATES_READ_MAX) {
        match Metadata::fetch(&file.location, source) {
            // What is kept of it is its log; the text is not needed.
            Ok(metadata) => read.push(metadata.without_text()),
            // Whoever wrote it did not finish, or it is gone: it is not current.
            Err(error) => failure = Some(error),
        }
    }
    let superseded = |one: &Metadata| {
        let name = name_of(one.place());
        read.iter()
            .any(|other| other.metadata_log().any(|old| name_of(old) == name))
    };
    let heads = read.iter().filter(|one| !superseded(one));
    let newest = heads.max_by_key(|one| (one.last_updated_ms(), version_of(one.place())));
    match (newest, failure) {
        (Some(newest), _) => Ok(Choice {
            location: newest.place().to_owned(),
            why: Why::NewestInLog { of: read.len() },
        }),
        (None, Some(failure)) => Err(failure),
        (None, None) => Err(Error::NoMetadata {
            place: place.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests;
