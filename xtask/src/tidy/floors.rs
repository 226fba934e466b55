//! The order of the floors: a crate uses lower floors only, and no face reaches past the core.
//!
//! The compiler refuses a cycle between crates; that a crate does not skip or climb floors without one
//! is checked here. Development dependencies are free.

use super::Finding;
use super::manifests::packages;
use super::source::{Source, line_of, words};
use super::tree::Tree;

const BELOW_CORE: [&str; 3] = ["repo-chunker", "repo-format", "repo-store"];
const CORE_AND_BELOW: [&str; 4] = ["repo-chunker", "repo-format", "repo-store", "repo-core"];

/// Packages of the workspace that each may need; a crate that is not here has no floor yet.
const FLOORS: &[(&str, &[&str])] = &[
    ("repo-chunker", &[]),
    ("repo-format", &[]),
    ("repo-store", &["repo-format"]),
    ("repo-core", &BELOW_CORE),
    ("repo-tables", &CORE_AND_BELOW),
    ("repo-postgres", &CORE_AND_BELOW),
    ("repo-mount", &CORE_AND_BELOW),
    ("repo-serve", &CORE_AND_BELOW),
    (
        "repo-cli",
        &[
            "repo-core",
            "repo-tables",
            "repo-postgres",
            "repo-mount",
            "repo-serve",
        ],
    ),
    ("repo-testkit", &CORE_AND_BELOW),
    ("repo-model", &[]),
    ("xtask", &[]),
];

/// Packages beside the floors, which nothing may need and which may need everything.
pub(super) const BESIDE: [&str; 3] = ["repo-tests", "repo-benches", "repo-fuzz"];

/// Every dependency between packages of the workspace goes down.
pub(super) fn dependencies(tree: &Tree) -> Vec<Finding> {
    let (packages, mut findings) = packages(tree);
    for package in &packages {
        if BESIDE.contains(&package.name.as_str()) {
            continue;
        }
        let Some((_, allowed)) = FLOORS.iter().find(|(name, _)| *name == package.name) else {
            let what = format!("{} has no floor; name it in xtask's floors", package.name);
            findings.push(Finding::new(&package.manifest, what));
            continue;
        };
        for dependency in &package.dependencies {
            let own = packages.iter().any(|other| other.name == *dependency);
            if own && !allowed.contains(&dependency.as_str()) {
                let what = format!("{} may not depend on {dependency}", package.name);
                findings.push(Finding::new(&package.manifest, what));
            }
        }
    }
    findings
}

/// In repo-core, `archive` uses `repository` and never the reverse.
pub(super) fn inside_core(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.ending(".rs") {
        if !path.starts_with("crates/repo-core/src/repository/")
            && path != "crates/repo-core/src/repository.rs"
        {
            continue;
        }
        let code = Source::new(text).production();
        for at in words(&code, "archive::") {
            findings.push(Finding::at_line(
                path,
                line_of(&code, at),
                "repository may not use archive",
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str, dependencies: &str) -> String {
        format!("[package]\nname = \"{name}\"\n[dependencies]\n{dependencies}")
    }

    fn findings(name: &str, dependencies: &str) -> Vec<Finding> {
        let mut files = vec![(
            "crates/it/Cargo.toml".to_owned(),
            manifest(name, dependencies),
        )];
        for (other, _) in FLOORS.iter().filter(|(other, _)| *other != name) {
            files.push((format!("crates/{other}/Cargo.toml"), manifest(other, "")));
        }
        let files: Vec<(&str, &str)> = files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
            .collect();
        super::dependencies(&Tree::of(&files))
    }

    #[test]
    fn going_down_is_allowed() {
        assert_eq!(findings("repo-store", "repo-format.workspace = true"), []);
        assert_eq!(
            findings("repo-core", "repo-store.workspace = true\ntokio = \"1\""),
            []
        );
        assert_eq!(findings("repo-tests", "repo-testkit.workspace = true"), []);
        assert_eq!(
            findings(
                "repo-core",
                "[dev-dependencies]\nrepo-testkit.workspace = true"
            ),
            []
        );
    }

    #[test]
    fn climbing_and_skipping_are_found() {
        for (name, dependency) in [
            ("repo-chunker", "repo-format"),
            ("repo-format", "repo-store"),
            ("repo-store", "repo-core"),
            ("repo-core", "repo-cli"),
            ("repo-cli", "repo-format"),
            ("repo-core", "repo-testkit"),
            ("xtask", "repo-core"),
        ] {
            let found = findings(name, &format!("{dependency}.workspace = true"));
            assert_eq!(found.len(), 1, "{name} on {dependency}: {found:?}");
        }
        let renamed = "x = { package = \"repo-store\", path = \"x\" }";
        assert_eq!(findings("repo-chunker", renamed).len(), 1);
        let platform = "[target.'cfg(unix)'.dependencies]\nrepo-store.workspace = true";
        assert_eq!(findings("repo-chunker", platform).len(), 1);
        let build = "[build-dependencies]\nrepo-store.workspace = true";
        assert_eq!(findings("repo-chunker", build).len(), 1);
    }

    #[test]
    fn a_crate_without_a_floor_is_found() {
        assert_eq!(findings("repo-unknown", "").len(), 1);
    }

    #[test]
    fn the_reverse_inside_core_is_found() {
        let tree = Tree::of(&[
            (
                "crates/repo-core/src/repository/a.rs",
                "// archive::x\nuse crate::archive::Walk;",
            ),
            (
                "crates/repo-core/src/archive/b.rs",
                "use crate::archive::Walk;",
            ),
        ]);
        assert_eq!(
            inside_core(&tree),
            [Finding::at_line(
                "crates/repo-core/src/repository/a.rs",
                2,
                "repository may not use archive"
            )]
        );
    }
}
