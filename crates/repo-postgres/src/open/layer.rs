//! The changes that are laid over a snapshot before a server starts on it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode};

use crate::description::{Description, PLACE};
use crate::error::{Error, Result};

/// What is in a snapshot and not part of a cluster that starts as a server of its own: the snapshot's
/// description, what makes a server a standby or follow an archive, and the map by which it would
/// make links to tablespaces anew.
const HIDDEN: [&str; 4] = [PLACE, "standby.signal", "recovery.signal", "tablespace_map"];
const SETTINGS: &str = "postgresql.conf";

/// One overlay to mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// What is below: read-only, of the snapshot.
    pub lower: PathBuf,
    /// What is above: the directory that has the changes and takes more.
    pub changes: PathBuf,
    /// A directory that the overlay needs for itself.
    pub work: PathBuf,
    /// Where both are seen as one.
    pub target: PathBuf,
}

/// All overlays of a cluster.
#[derive(Debug, Clone)]
pub struct Layers {
    all: Vec<Layer>,
    owner: (u32, u32),
}

impl Layers {
    /// The overlays in the order in which they are to be mounted. The first is the data directory.
    #[must_use]
    pub fn all(&self) -> &[Layer] {
        &self.all
    }

    /// The data directory.
    #[must_use]
    pub fn pgdata(&self) -> &Path {
        self.all
            .first()
            .map_or(Path::new(""), |layer| &layer.target)
    }

    /// The user and the group that the cluster belongs to.
    #[must_use]
    pub fn owner(&self) -> (u32, u32) {
        self.owner
    }

    /// Makes a directory that belongs to the owner.
    pub(super) fn directory(&self, path: &Path, mode: u32) -> Result<()> {
        directory(path, mode, self.owner)
    }
}

fn directory(path: &Path, mode: u32, (user, group): (u32, u32)) -> Result<()> {
    fs::create_dir_all(path).map_err(|error| Error::io("create", path, error))?;
    chown(path, Some(user), Some(group))
        .map_err(|error| Error::io("change the owner of", path, error))?;
    fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(|error| Error::io("change the mode of", path, error))
}

/// Prepares below `place` what is to be laid over the data directory that is shown at `snapshot`.
pub fn layers(description: &Description, snapshot: &Path, place: &Path) -> Result<Layers> {
    let main = layer(snapshot, place, "pgdata")?;
    let metadata = fs::metadata(snapshot).map_err(|error| Error::io("read", snapshot, error))?;
    let owner = (metadata.uid(), metadata.gid());
    for name in HIDDEN {
        hide(&main.changes.join(name))?;
    }
    if !snapshot.join(SETTINGS).exists() {
        // Some systems keep it elsewhere; no server starts without one.
        let path = main.changes.join(SETTINGS);
        fs::write(&path, "").map_err(|error| Error::io("write", &path, error))?;
        chown(&path, Some(owner.0), Some(owner.1))
            .map_err(|error| Error::io("change the owner of", &path, error))?;
    }
    let mut all = vec![main];
    let outside = description.tablespaces.iter();
    for tablespace in outside.filter(|tablespace| tablespace.location.is_some()) {
        let (path, oid) = (format!("pg_tblspc/{}", tablespace.oid), tablespace.oid);
        // In the snapshot it is a directory; a server wants a link, which hides the directory.
        let links = all[0].changes.join("pg_tblspc");
        directory(&links, 0o700, owner)?;
        let space = layer(&snapshot.join(path), place, &format!("tablespace-{oid}"))?;
        let link = links.join(oid.to_string());
        symlink(&space.target, &link).map_err(|error| Error::io("link", &link, error))?;
        all.push(space);
    }
    Ok(Layers { all, owner })
}

/// The directories of a layer. The upper one lends the whole its owner and mode.
fn layer(lower: &Path, place: &Path, name: &str) -> Result<Layer> {
    let below = fs::metadata(lower).map_err(|error| Error::io("read", lower, error))?;
    let layer = Layer {
        lower: lower.to_owned(),
        changes: place.join(format!("{name}.changes")),
        work: place.join(format!("{name}.work")),
        target: place.join(name),
    };
    for made in [&layer.changes, &layer.target] {
        directory(made, below.mode() & 0o7777, (below.uid(), below.gid()))?;
    }
    fs::create_dir(&layer.work).map_err(|error| Error::io("create", &layer.work, error))?;
    Ok(layer)
}

/// Marks a name as deleted in the layer above, whether it is there below or not.
fn hide(path: &Path) -> Result<()> {
    let whiteout = rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), 0);
    whiteout.map_err(|error| Error::io("create", path, error))
}
