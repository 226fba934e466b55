//! Messages of a search.

use std::fmt::{self, Display, Formatter};

use repo_core::{FoundSource, FoundVersion};
use serde::Serialize;

use super::{PathFields, exact_time, kind_name, text_and_hex};
use crate::show;

/// A version of a path.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "found")]
pub(crate) struct FoundMessage<'a> {
    host: &'a str,
    paths: Vec<String>,
    #[serde(flatten)]
    path: PathFields,
    #[serde(rename = "type")]
    kind: &'static str,
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_hex: Option<String>,
    snapshots: Vec<String>,
}

impl<'a> FoundMessage<'a> {
    pub(crate) fn new(source: &'a FoundSource, path: &[u8], version: &FoundVersion) -> Self {
        let (target, target_hex) = match version.target.as_deref().map(text_and_hex) {
            Some((text, hex)) => (Some(text), hex),
            None => (None, None),
        };
        let places = version.snapshots.iter().cloned().flatten();
        let snapshots = places.filter_map(|at| Some(source.snapshots.get(at)?.to_hex()));
        let paths = source.paths.iter().map(|path| text_and_hex(&path.0).0);
        Self {
            host: &source.host,
            paths: paths.collect(),
            path: PathFields::new(path),
            kind: kind_name(version.kind),
            mode: version.mode,
            uid: version.uid,
            gid: version.gid,
            size: version.size,
            mtime: exact_time(version.mtime),
            content: version.content.map(|id| id.to_hex()),
            target,
            target_hex,
            snapshots: snapshots.collect(),
        }
    }
}

/// The end of `find`.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "find_summary")]
pub(crate) struct FindSummary {
    pub(crate) paths: u64,
    pub(crate) versions: u64,
    pub(crate) snapshots: u64,
}

impl Display for FindSummary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, {} in {}",
            show::count(self.paths, "path"),
            show::count(self.versions, "version"),
            show::count(self.snapshots, "snapshot"),
        )
    }
}
