//! The files under version control, with their text where a rule reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::process::Invocation;

/// Names that end so are read; of other files only the path is known.
const READ: [&str; 6] = [".rs", ".toml", ".lock", ".md", ".sh", ".py"];

/// The files of a work tree by their path from the root.
#[derive(Debug, Default)]
pub(super) struct Tree {
    files: BTreeMap<String, String>,
    directories: BTreeSet<String>,
}

impl Tree {
    /// Reads what git tracks or would track; ignored files are not part of the project.
    pub(super) fn read(root: &Path) -> Result<Self, String> {
        let listing =
            Invocation::new("git ls-files -z --cached --others --exclude-standard").output(root)?;
        let mut tree = Self::default();
        for path in listing.split('\0').filter(|path| !path.is_empty()) {
            let full = root.join(path);
            if !full.exists() {
                continue;
            }
            let read = READ.iter().any(|ending| path.ends_with(ending)) && full.is_file();
            let text = if read {
                let bytes = std::fs::read(&full).map_err(|error| format!("{path}: {error}"))?;
                String::from_utf8_lossy(&bytes).into_owned()
            } else {
                String::new()
            };
            tree.insert(path, text);
        }
        Ok(tree)
    }

    /// A tree that exists nowhere.
    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let mut tree = Self::default();
        for (path, text) in files {
            tree.insert(path, (*text).to_owned());
        }
        tree
    }

    fn insert(&mut self, path: &str, text: String) {
        let mut parent = path;
        while let Some((directory, _)) = parent.rsplit_once('/') {
            self.directories.insert(directory.to_owned());
            parent = directory;
        }
        self.files.insert(path.to_owned(), text);
    }

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    pub(super) fn get(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    pub(super) fn is_directory(&self, path: &str) -> bool {
        path.is_empty() || self.directories.contains(path)
    }

    pub(super) fn directories(&self) -> impl Iterator<Item = &str> {
        self.directories.iter().map(String::as_str)
    }

    /// Every file whose path ends so.
    pub(super) fn ending(&self, ending: &str) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .filter(move |(path, _)| path.ends_with(ending))
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }
}

/// The directory of a path; empty for the root.
pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// Appends to a directory that may be the root.
pub(super) fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() {
        name.to_owned()
    } else {
        format!("{directory}/{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_follow_from_files() {
        let tree = Tree::of(&[("a/b/c.rs", ""), ("d.md", "")]);
        assert_eq!(tree.directories().collect::<Vec<_>>(), ["a", "a/b"]);
        assert!(tree.is_directory("a/b") && !tree.is_directory("d.md"));
        assert_eq!(
            (parent("a/b/c.rs"), parent("d.md"), join("", "d.md")),
            ("a/b", "", "d.md".to_owned())
        );
    }

    #[test]
    fn a_work_tree_is_read_without_ignored_files() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let root = place.path();
        std::fs::create_dir(root.join("target")).expect("a directory");
        for (path, text) in [
            (".gitignore", "/target\n"),
            ("target/x.rs", ""),
            ("a.rs", "//! A."),
            ("b.bin", "bytes"),
        ] {
            std::fs::write(root.join(path), text).expect("a file");
        }
        Invocation::new("git init --quiet")
            .run(root)
            .expect("git works");
        let tree = Tree::read(root).expect("a work tree");
        assert_eq!(tree.len(), 3);
        assert_eq!(tree.get("a.rs"), Some("//! A."));
        assert_eq!(tree.get("b.bin"), Some(""));
        assert_eq!(tree.get("target/x.rs"), None);
    }
}
