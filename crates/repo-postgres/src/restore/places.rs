//! Where tablespaces are restored to, and the links that lead there.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{ClusterRestore, create, own};
use crate::description::Description;
use crate::error::{Error, Result};

/// A tablespace outside of the data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) oid: u32,
    /// Where it lay.
    pub(super) old: PathBuf,
    /// Where it is to lie.
    pub(super) location: PathBuf,
}

/// Decides where each tablespace goes, and that nothing else is there.
pub(super) fn find(
    description: &Description,
    request: &ClusterRestore,
    pgdata: &Path,
) -> Result<Vec<Place>> {
    let mut places = Vec::new();
    for tablespace in &description.tablespaces {
        if let Some(old) = &tablespace.location {
            let mapped = request.tablespaces.iter().find(|(from, _)| from == old);
            let location = mapped.map_or(old, |(_, to)| to);
            places.push(Place {
                oid: tablespace.oid,
                old: old.clone(),
                location: std::path::absolute(location)
                    .map_err(|error| Error::io("find", location, error))?,
            });
        }
    }
    if let Some((old, _)) = request
        .tablespaces
        .iter()
        .find(|(old, _)| !places.iter().any(|place| place.old == *old))
    {
        return Err(Error::NoTablespace { old: old.clone() });
    }
    let mut taken = BTreeSet::new();
    for place in &places {
        let within = place.location.starts_with(pgdata) || pgdata.starts_with(&place.location);
        if within || !taken.insert(&place.location) {
            return Err(Error::PlaceTaken {
                path: place.location.clone(),
            });
        }
        if !request.force {
            place.refuse_others(pgdata, &description.version_directory())?;
        }
    }
    Ok(places)
}

impl Place {
    fn link_path(&self, pgdata: &Path) -> PathBuf {
        pgdata.join(format!("pg_tblspc/{}", self.oid))
    }

    /// Fails when files of a tablespace lie there and the target has no link to them: they may be
    /// those of the cluster that the snapshot was taken of, which may be running.
    fn refuse_others(&self, pgdata: &Path, version: &str) -> Result<()> {
        let directory = self.location.join(version);
        let used = fs::read_dir(&directory).is_ok_and(|mut listed| listed.next().is_some());
        let linked = fs::read_link(self.link_path(pgdata)).is_ok_and(|to| to == self.location);
        if used && !linked {
            return Err(Error::Occupied { path: directory });
        }
        Ok(())
    }

    /// Makes the place and the link to it.
    pub(super) fn link(&self, pgdata: &Path) -> Result<()> {
        let made = !self.location.exists();
        fs::create_dir_all(&self.location)
            .map_err(|error| Error::io("create", &self.location, error))?;
        if made {
            own(&self.location, pgdata)?;
            let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
            fs::set_permissions(&self.location, private)
                .map_err(|error| Error::io("change the mode of", &self.location, error))?;
        }
        let link = self.link_path(pgdata);
        match fs::read_link(&link) {
            Ok(to) if to == self.location => return Ok(()),
            Ok(_) => {
                fs::remove_file(&link).map_err(|error| Error::io("remove", &link, error))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // Not a link: a directory with somebody's files.
            Err(_) => return Err(Error::Occupied { path: link }),
        }
        std::os::unix::fs::symlink(&self.location, &link)
            .map_err(|error| Error::io("link", &link, error))?;
        own(&link, pgdata)
    }
}

/// Makes `tablespace_map`, by which the server makes the links again, say where tablespaces are now.
/// Where none has moved it stays as it was, byte for byte.
pub(super) fn rewrite_map(pgdata: &Path, places: &[Place]) -> Result<()> {
    if places.iter().all(|place| place.old == place.location) {
        return Ok(());
    }
    let path = pgdata.join("tablespace_map");
    let mut map = Vec::new();
    for place in places {
        map.extend_from_slice(format!("{} ", place.oid).as_bytes());
        map.extend_from_slice(&escape(place.location.as_os_str().as_bytes()));
        map.push(b'\n');
    }
    create(&path, pgdata)?
        .write_all(&map)
        .map_err(|error| Error::io("write", path, error))
}

/// Line ends and backslashes have a backslash before them.
fn escape(path: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(path.len());
    for byte in path {
        if matches!(byte, b'\n' | b'\r' | b'\\') {
            escaped.push(b'\\');
        }
        escaped.push(*byte);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(root: &Path) -> Place {
        Place {
            oid: 7,
            old: PathBuf::from("/old"),
            location: root.join("new\nplace"),
        }
    }

    #[test]
    fn the_map_follows_what_moved_and_else_stays() {
        let root = tempfile::tempdir().expect("a directory");
        let map = root.path().join("tablespace_map");
        fs::write(&map, "7 /old\n").expect("written");
        let mut place = place(root.path());
        place.location = PathBuf::from("/old");
        rewrite_map(root.path(), &[place.clone()]).expect("kept");
        assert_eq!(fs::read(&map).expect("read"), b"7 /old\n");
        place.location = PathBuf::from("/a\\b\nc");
        rewrite_map(root.path(), &[place]).expect("written");
        assert_eq!(fs::read(&map).expect("read"), b"7 /a\\\\b\\\nc\n");
    }

    #[test]
    fn a_link_is_made_and_moved_and_never_replaces_a_directory() {
        let root = tempfile::tempdir().expect("a directory");
        let links = root.path().join("pg_tblspc");
        fs::create_dir(&links).expect("a directory");
        let place = place(root.path());
        std::os::unix::fs::symlink("/elsewhere", links.join("7")).expect("a link");
        for _ in 0..2 {
            place.link(root.path()).expect("linked");
            assert_eq!(
                fs::read_link(links.join("7")).expect("a link"),
                place.location
            );
        }
        fs::remove_file(links.join("7")).expect("removed");
        fs::create_dir(links.join("7")).expect("a directory");
        assert!(matches!(
            place.link(root.path()),
            Err(Error::Occupied { .. })
        ));
    }

    #[test]
    fn files_of_another_cluster_are_not_taken_over() {
        let root = tempfile::tempdir().expect("a directory");
        let place = place(root.path());
        place
            .refuse_others(root.path(), "PG_15_1")
            .expect("nothing there");
        fs::create_dir_all(place.location.join("PG_15_1/5")).expect("a directory");
        let refused = place.refuse_others(root.path(), "PG_15_1");
        assert!(matches!(refused, Err(Error::Occupied { .. })));
        place
            .refuse_others(root.path(), "PG_16_1")
            .expect("of another version");
        fs::create_dir(root.path().join("pg_tblspc")).expect("a directory");
        place.link(root.path()).expect("linked");
        place
            .refuse_others(root.path(), "PG_15_1")
            .expect("its own");
    }
}
