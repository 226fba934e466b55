//! Which snapshots are meant: `latest`, a prefix of an id, filters, and `SNAPSHOT:PATH`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use clap::Args;
use repo_core::{Error, ErrorKind, Repository, SnapshotRef, SnapshotView};

use crate::exit::Failure;
use crate::show;

/// Shortest prefix of an id.
const PREFIX_MIN: usize = 4;

/// The newest snapshot's name.
const LATEST: &str = "latest";

/// Filters on snapshots.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Filter {
    /// Consider snapshots of HOST only. May be repeated.
    #[arg(long = "host", value_name = "HOST")]
    pub(crate) hosts: Vec<String>,
    /// Consider snapshots that have TAG only; of tags joined by commas, all. May be repeated.
    #[arg(long = "tag", value_name = "TAG[,TAG]")]
    pub(crate) tags: Vec<String>,
    /// Consider snapshots of PATH only. May be repeated.
    #[arg(long = "path", value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
}

impl Filter {
    /// Whether it lets everything through.
    pub(crate) fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.tags.is_empty() && self.paths.is_empty()
    }

    /// Whether a snapshot is one of those considered.
    pub(crate) fn matches(&self, known: &SnapshotRef) -> bool {
        let snapshot = &known.snapshot;
        let host = self.hosts.is_empty() || self.hosts.contains(&snapshot.host);
        let has_all =
            |tags: &String| split_tags(tags).all(|tag| known.tags.iter().any(|t| t == tag));
        let tag = self.tags.is_empty() || self.tags.iter().any(has_all);
        let has_path = |path: &PathBuf| {
            let path = recorded(path);
            // Compared by component, so that a slash at the end makes no difference.
            let stored = snapshot
                .paths
                .iter()
                .map(|stored| OsStr::from_bytes(&stored.0));
            stored.map(PathBuf::from).any(|stored| stored == path)
        };
        host && tag && (self.paths.is_empty() || self.paths.iter().any(has_path))
    }
}

/// A local path as snapshots record it: absolute, `.` and `..` resolved by name.
pub(crate) fn recorded(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut clean = PathBuf::from("/");
    for component in absolute.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            _ => {}
        }
    }
    clean
}

/// The tags in a list joined by commas.
pub(crate) fn split_tags(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|tag| !tag.is_empty())
}

/// Whether a snapshot is a part of an archive of WAL: no state of anything.
pub(crate) fn is_wal(known: &SnapshotRef) -> bool {
    repo_postgres::wal::volume_of(&known.snapshot).is_some()
}

/// Finds the snapshot that `name` means among those the filter lets through.
pub(crate) fn find<'a>(
    snapshots: &'a [SnapshotRef],
    name: &str,
    filter: &Filter,
) -> Result<&'a SnapshotRef, Failure> {
    let considered = || snapshots.iter().filter(|known| filter.matches(known));
    let hint = "`repo snapshots` lists what there is";
    if name == LATEST {
        // Of equal times, the one committed last.
        let sources = considered().filter(|known| !is_wal(known));
        let newest = sources.max_by_key(|known| known.snapshot.time_ms);
        return newest.ok_or_else(|| match (filter.is_empty(), snapshots) {
            (true, _) | (_, []) => Failure::failed("the repository has no snapshot"),
            _ => Failure::failed("no snapshot matches the host, tag or path asked for").hint(hint),
        });
    }
    let prefix = name.to_ascii_lowercase();
    if prefix.is_empty() || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Failure::failed(format!(
            "no snapshot {}: neither {LATEST} nor an id in hexadecimal",
            show::path(name.as_bytes())
        ))
        .hint(hint));
    }
    if prefix.len() < PREFIX_MIN {
        return Err(Failure::failed(format!(
            "snapshot id {prefix} is too short: give at least {PREFIX_MIN} characters"
        )));
    }
    let found: Vec<_> = considered()
        .filter(|known| known.snapshot.id().to_hex().starts_with(&prefix))
        .collect();
    match found.as_slice() {
        [] => Err(Failure::failed(format!("no snapshot {prefix}")).hint(hint)),
        [one] => Ok(one),
        several => {
            let ids: Vec<String> = several
                .iter()
                .map(|known| known.snapshot.id().to_hex())
                .collect();
            Err(Failure::failed(format!(
                "snapshot id {prefix} is ambiguous: {}",
                ids.join(", ")
            )))
        }
    }
}

/// The snapshots that names mean, each once; without names, all that the filter lets through.
pub(crate) fn choose<'a>(
    snapshots: &'a [SnapshotRef],
    names: &[String],
    filter: &Filter,
) -> Result<Vec<&'a SnapshotRef>, Failure> {
    if names.is_empty() {
        let matching = snapshots.iter().filter(|known| filter.matches(known));
        return Ok(matching.collect());
    }
    let mut chosen: Vec<&SnapshotRef> = Vec::new();
    for name in names {
        let found = find(snapshots, name, filter)?;
        if !chosen.contains(&found) {
            chosen.push(found);
        }
    }
    Ok(chosen)
}

/// Finds a snapshot and opens it for reading.
pub(crate) fn view(
    repository: &Repository,
    name: &str,
    filter: &Filter,
) -> Result<SnapshotView, Failure> {
    let snapshots = repository.snapshots();
    let known = find(&snapshots, name, filter)?;
    Ok(repository.view(&known.snapshot.id())?)
}

/// A snapshot and a path in it, as in `latest:etc/fstab`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Name of the snapshot.
    pub(crate) snapshot: String,
    /// Path from its root; empty is the root.
    pub(crate) path: Vec<u8>,
}

impl Target {
    /// Reads `SNAPSHOT` or `SNAPSHOT:PATH`.
    pub(crate) fn parse(text: &OsStr) -> Self {
        let bytes = text.as_bytes();
        let at = bytes.iter().position(|byte| *byte == b':');
        let (name, path) = match at {
            Some(at) => (&bytes[..at], &bytes[at + 1..]),
            None => (bytes, &[][..]),
        };
        Self {
            snapshot: String::from_utf8_lossy(name).into_owned(),
            path: path.to_vec(),
        }
    }

    /// Opens the snapshot, and finds the path in it.
    ///
    /// A snapshot of one directory holds paths from there. A path that its snapshot does not hold
    /// may also be written as it was on the host that was read.
    pub(crate) async fn open(
        &self,
        repository: &Repository,
        filter: &Filter,
    ) -> Result<(SnapshotView, Vec<u8>), Failure> {
        let view = view(repository, &self.snapshot, filter)?;
        let path = normal(&self.path);
        let Err(missing) = view.entry(&path).await else {
            return Ok((view, path));
        };
        let on_host = match missing.kind() {
            ErrorKind::NotFound => below_root(&self.path, &view),
            _ => None,
        };
        if let Some(path) = on_host
            && view.entry(&path).await.is_ok()
        {
            return Ok((view, path));
        }
        Err(match missing {
            Error::UnknownPath { snapshot, .. } => Failure::from(Error::UnknownPath {
                path: show::path(&self.path),
                snapshot,
            }),
            other => other.into(),
        })
    }
}

/// The path without empty and `.` components.
fn normal(path: &[u8]) -> Vec<u8> {
    let components = path.split(|byte| *byte == b'/');
    let named: Vec<&[u8]> = components
        .filter(|name| !name.is_empty() && *name != b".")
        .collect();
    named.join(&b'/')
}

/// An absolute path of the host, from the only root of the snapshot.
fn below_root(path: &[u8], view: &SnapshotView) -> Option<Vec<u8>> {
    let [root] = view.snapshot().paths.as_slice() else {
        return None;
    };
    relative_to(path, &root.0)
}

fn relative_to(path: &[u8], root: &[u8]) -> Option<Vec<u8>> {
    let path = PathBuf::from(OsString::from_vec(path.to_vec()));
    let rest = path.strip_prefix(OsStr::from_bytes(root)).ok()?;
    Some(normal(rest.as_os_str().as_bytes()))
}

#[cfg(test)]
mod tests;
