//! The packages of a tree and what their manifests depend on.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::Finding;
use super::tree::{Tree, parent};

/// A package of this project.
#[derive(Debug, Default)]
pub(super) struct Package {
    pub(super) name: String,
    /// Its manifest's path.
    pub(super) manifest: String,
    /// Its directory.
    pub(super) directory: String,
    /// Packages it needs to be built, by their own name; development dependencies are not among them.
    pub(super) dependencies: Vec<String>,
    /// Paths of explicit targets, from its directory.
    pub(super) targets: Vec<String>,
    /// Kinds of target that cargo does not look for itself (`tests`, `benches`, ...).
    pub(super) not_found: Vec<&'static str>,
}

/// Reads every package, and what cannot be read.
pub(super) fn packages(tree: &Tree) -> (Vec<Package>, Vec<Finding>) {
    let mut findings = Vec::new();
    let mut manifests = BTreeMap::new();
    for (path, text) in tree.ending("Cargo.toml") {
        match text.parse::<Table>() {
            Ok(table) => {
                manifests.insert(path, table);
            }
            Err(error) => findings.push(Finding::new(path, error.message().to_owned())),
        }
    }
    let inherited = manifests
        .get("Cargo.toml")
        .and_then(|root| root.get("workspace"))
        .and_then(|workspace| workspace.get("dependencies"))
        .and_then(Value::as_table)
        .cloned()
        .unwrap_or_default();
    let packages = manifests
        .iter()
        .filter_map(|(path, table)| package(path, table, &inherited))
        .collect();
    (packages, findings)
}

fn package(path: &str, table: &Table, inherited: &Table) -> Option<Package> {
    let head = table.get("package")?.as_table()?;
    let mut package = Package {
        name: head.get("name")?.as_str()?.to_owned(),
        manifest: path.to_owned(),
        directory: parent(path).to_owned(),
        ..Package::default()
    };
    let platforms = table.get("target").and_then(Value::as_table);
    let tables = platforms
        .into_iter()
        .flat_map(|platforms| platforms.values().filter_map(Value::as_table))
        .chain([table]);
    for place in tables {
        for kind in ["dependencies", "build-dependencies"] {
            let entries = place.get(kind).and_then(Value::as_table);
            for (key, value) in entries.into_iter().flatten() {
                package.dependencies.push(real_name(key, value, inherited));
            }
        }
    }
    for (kind, switch) in [
        ("bin", "autobins"),
        ("test", "autotests"),
        ("bench", "autobenches"),
        ("example", "autoexamples"),
    ] {
        if head.get(switch).and_then(Value::as_bool) == Some(false) {
            package.not_found.push(kind);
        }
        let entries = table.get(kind).and_then(Value::as_array);
        package
            .targets
            .extend(entries.into_iter().flatten().filter_map(target_path));
    }
    package
        .targets
        .extend(table.get("lib").and_then(target_path));
    Some(package)
}

fn target_path(target: &Value) -> Option<String> {
    Some(target.get("path")?.as_str()?.to_owned())
}

/// A dependency may be renamed, in its own table or in the workspace's.
fn real_name(key: &str, value: &Value, inherited: &Table) -> String {
    let renamed = |value: &Value| {
        let name = value.get("package").and_then(Value::as_str);
        name.map(str::to_owned)
    };
    renamed(value)
        .or_else(|| {
            let from_workspace = value.get("workspace").and_then(Value::as_bool) == Some(true);
            from_workspace
                .then(|| inherited.get(key).and_then(renamed))
                .flatten()
        })
        .unwrap_or_else(|| key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_dependency_but_development_is_read() {
        let tree = Tree::of(&[
            (
                "Cargo.toml",
                "[workspace.dependencies]\nshort = { version = \"1\", package = \"long\" }",
            ),
            (
                "crates/a/Cargo.toml",
                "[package]\nname = \"a\"\nautotests = false\n[dependencies]\nb = \"1\"\nshort.workspace = true\nc = { package = \"d\", version = \"1\" }\n\
                 [build-dependencies]\ne = \"1\"\n[dev-dependencies]\nf = \"1\"\n\
                 [target.'cfg(unix)'.dependencies]\ng = \"1\"\n[target.x.build-dependencies]\nh = \"1\"\n\
                 [[bin]]\nname = \"a\"\npath = \"src/other.rs\"",
            ),
            ("broken/Cargo.toml", "["),
        ]);
        let (packages, findings) = packages(&tree);
        assert_eq!(packages.len(), 1);
        let mut names = packages[0].dependencies.clone();
        names.sort();
        assert_eq!(names, ["b", "d", "e", "g", "h", "long"]);
        assert_eq!(packages[0].targets, ["src/other.rs"]);
        assert_eq!(packages[0].not_found, ["test"]);
        assert_eq!(findings.len(), 1);
    }
}
