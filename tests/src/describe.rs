//! All that can be seen of a directory tree, as values to compare and to keep in a file.
//!
//! Owners are left out: only the superuser can give files away. The bytes of a repository are
//! described here too, to show that a command left them alone.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

/// What is told of each path; see [`tree`].
pub type Described = BTreeMap<String, Value>;

/// Describes what lies below `root`, and `root` itself under the empty path.
///
/// Bytes of names, targets and attributes that are not printable ASCII are escaped. Of several
/// names of one file, each but the first names the first.
pub fn tree(root: &Path) -> io::Result<Described> {
    let mut found = Described::new();
    let mut first_names = BTreeMap::new();
    visit(root, root, &mut found, &mut first_names)?;
    Ok(found)
}

fn visit(
    root: &Path,
    path: &Path,
    found: &mut Described,
    first_names: &mut BTreeMap<(u64, u64), String>,
) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    let relative = path.strip_prefix(root).map_err(io::Error::other)?;
    let relative = escaped(relative.as_os_str().as_bytes());
    let mut facts = Map::new();
    let mut put = |name: &str, value: Value| drop(facts.insert(name.to_owned(), value));
    let kind = meta.file_type();
    if kind.is_symlink() {
        put("type", json!("symlink"));
        let target = fs::read_link(path)?;
        put("target", json!(escaped(target.as_os_str().as_bytes())));
    } else {
        put("mode", json!(format!("{:04o}", meta.mode() & 0o7777)));
        if kind.is_file() {
            put("type", json!("file"));
            put("size", json!(meta.len()));
            if meta.len() > 0 {
                put("sha256", json!(sha256(&fs::read(path)?)));
            }
            if meta.blocks() * 512 + 4096 < meta.len() {
                put("sparse", json!(true));
            }
        } else if kind.is_dir() {
            put("type", json!("directory"));
        } else {
            put("type", json!("special"));
        }
        let attributes = attributes(path)?;
        if !attributes.is_empty() {
            put("xattrs", json!(attributes));
        }
    }
    put(
        "mtime",
        json!(format!("{}.{:09}", meta.mtime(), meta.mtime_nsec())),
    );
    if !kind.is_dir() && meta.nlink() > 1 {
        let first = first_names
            .entry((meta.dev(), meta.ino()))
            .or_insert_with(|| relative.clone());
        if *first != relative {
            put("link", json!(first));
        }
    }
    found.insert(relative, Value::Object(facts));
    if kind.is_dir() {
        let mut below = Vec::new();
        for entry in fs::read_dir(path)? {
            below.push(entry?.path());
        }
        below.sort();
        for path in below {
            visit(root, &path, found, first_names)?;
        }
    }
    Ok(())
}

/// The `user.` attributes of a file or directory.
fn attributes(path: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut names = vec![0; 64 << 10];
    let len = match rustix::fs::llistxattr(path, &mut names[..]) {
        Ok(len) => len,
        Err(rustix::io::Errno::NOTSUP) => 0,
        Err(error) => return Err(error.into()),
    };
    let mut found = BTreeMap::new();
    for name in names[..len].split(|byte| *byte == 0) {
        if name.starts_with(b"user.") {
            let mut value = vec![0; 64 << 10];
            let len = rustix::fs::lgetxattr(path, name, &mut value[..])?;
            found.insert(escaped(name), escaped(&value[..len]));
        }
    }
    Ok(found)
}

/// Every object below a directory: its path, and its length and digest.
pub fn objects(root: &Path) -> io::Result<BTreeMap<String, String>> {
    let told = tree(root)?.into_iter();
    let files = told.filter(|(_, facts)| facts["type"] != "directory");
    Ok(files
        .map(|(path, facts)| (path, format!("{} {}", facts["size"], facts["sha256"])))
        .collect())
}

/// Where two descriptions differ, at most five lines; empty when they are alike.
#[must_use]
pub fn differences(wanted: &Described, found: &Described) -> Vec<String> {
    let mut paths: Vec<_> = wanted.keys().chain(found.keys()).collect();
    paths.sort();
    paths.dedup();
    let differing = paths
        .into_iter()
        .filter(|path| wanted.get(*path) != found.get(*path));
    differing
        .map(|path| {
            let shown =
                |told: &Described| told.get(path).map_or("absent".to_owned(), Value::to_string);
            format!("{path:?}: wanted {}, found {}", shown(wanted), shown(found))
        })
        .take(5)
        .collect()
}

fn escaped(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn sha256(content: &[u8]) -> String {
    let digest = digest(&SHA256, content);
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
