//! All that can be seen of a directory tree, for comparison.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// One line per path below `root`, and one for `root` itself.
pub(super) fn describe(root: &Path) -> BTreeMap<Vec<u8>, String> {
    let mut lines = BTreeMap::new();
    let mut inodes = BTreeMap::new();
    visit(root, root, &mut lines, &mut inodes);
    lines
}

fn visit(
    root: &Path,
    path: &Path,
    lines: &mut BTreeMap<Vec<u8>, String>,
    inodes: &mut BTreeMap<u64, Vec<u8>>,
) {
    let meta = fs::symlink_metadata(path).unwrap();
    let relative = path
        .strip_prefix(root)
        .unwrap()
        .as_os_str()
        .as_bytes()
        .to_vec();
    let kind = meta.file_type();
    let what = if kind.is_dir() {
        "directory".to_owned()
    } else if kind.is_symlink() {
        format!("symlink to {:?}", fs::read_link(path).unwrap())
    } else if kind.is_file() {
        let content = fs::read(path).unwrap();
        let sparse = meta.blocks() * 512 + 4096 < meta.len();
        format!(
            "file of {} sum {:x} sparse {sparse}",
            meta.len(),
            sum(&content)
        )
    } else if kind.is_fifo() {
        "fifo".to_owned()
    } else {
        format!("device {:x} block {}", meta.rdev(), kind.is_block_device())
    };
    let first = match kind.is_dir() {
        true => relative.clone(),
        false => inodes.entry(meta.ino()).or_insert(relative.clone()).clone(),
    };
    let line = format!(
        "{what} mode {:o} owner {}:{} mtime {}.{:09} xattrs {:?} first {}",
        meta.mode(),
        meta.uid(),
        meta.gid(),
        meta.mtime(),
        meta.mtime_nsec(),
        xattrs(path),
        first.escape_ascii(),
    );
    lines.insert(relative, line);
    if kind.is_dir() {
        let mut names: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        names.sort();
        for name in names {
            visit(root, &name, lines, inodes);
        }
    }
}

fn sum(content: &[u8]) -> u64 {
    content.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

fn xattrs(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut names = vec![0; 4096];
    let len = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    let mut found: Vec<(String, Vec<u8>)> = names[..len]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty() && !name.starts_with(b"security.selinux"))
        .map(|name| {
            let mut value = vec![0; 4096];
            let len = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
            value.truncate(len);
            (String::from_utf8_lossy(name).into_owned(), value)
        })
        .collect();
    found.sort();
    found
}
