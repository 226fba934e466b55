//! Packages that may not be in any lock file, and where packages come from.
//!
//! The names are those of deny.toml, so that `cargo deny` and this rule refuse the same.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::Finding;
use super::tree::Tree;

/// No lock file holds a package that deny.toml bans.
pub(super) fn banned(tree: &Tree) -> Vec<Finding> {
    let bans = match bans(tree) {
        Ok(bans) => bans,
        Err(what) => return vec![Finding::new("deny.toml", what)],
    };
    let mut findings = Vec::new();
    for (path, package) in locked(tree) {
        let name = package.get("name").and_then(Value::as_str).unwrap_or("?");
        if let Some(reason) = bans.get(name) {
            findings.push(Finding::new(path, format!("{name} is banned: {reason}")));
        }
    }
    findings
}

/// Every foreign package comes from one registry; a package of this project has no source.
pub(super) fn sources(tree: &Tree) -> Vec<Finding> {
    let mut known: Option<String> = None;
    let mut findings = Vec::new();
    for (path, package) in locked(tree) {
        let Some(source) = package.get("source").and_then(Value::as_str) else {
            continue;
        };
        let first = known.get_or_insert_with(|| source.to_owned());
        if !source.starts_with("registry+") || source != first {
            let name = package.get("name").and_then(Value::as_str).unwrap_or("?");
            findings.push(Finding::new(path, format!("{name} comes from {source}")));
        }
    }
    findings
}

fn bans(tree: &Tree) -> Result<BTreeMap<String, String>, String> {
    let text = tree.get("deny.toml").ok_or("does not exist")?;
    let table: Table = text
        .parse()
        .map_err(|error: toml::de::Error| error.message().to_owned())?;
    let list = table
        .get("bans")
        .and_then(|bans| bans.get("deny"))
        .and_then(Value::as_array)
        .filter(|list| !list.is_empty())
        .ok_or("bans nothing")?;
    let mut bans = BTreeMap::new();
    for entry in list {
        let field = |name| entry.get(name).and_then(Value::as_str);
        let name = field("crate").ok_or("a ban names no crate")?;
        let reason = field("reason").ok_or_else(|| format!("the ban of {name} has no reason"))?;
        bans.insert(name.to_owned(), reason.to_owned());
    }
    Ok(bans)
}

fn locked(tree: &Tree) -> Vec<(&str, Table)> {
    let mut packages = Vec::new();
    for (path, text) in tree.ending("Cargo.lock") {
        let lock: Table = text.parse().unwrap_or_default();
        let list = lock.get("package").and_then(Value::as_array);
        for package in list.into_iter().flatten().filter_map(Value::as_table) {
            packages.push((path, package.clone()));
        }
    }
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENY: &str = "[bans]\ndeny = [{ crate = \"openssl-sys\", reason = \"C\" }]";

    #[test]
    fn a_banned_package_is_found_in_any_lock_file() {
        let lock = "[[package]]\nname = \"a\"\n[[package]]\nname = \"openssl-sys\"\n";
        for path in ["Cargo.lock", "fuzz/Cargo.lock"] {
            let tree = Tree::of(&[("deny.toml", DENY), (path, lock)]);
            assert_eq!(banned(&tree).len(), 1, "{path}");
        }
        let clean = "[[package]]\nname = \"a\"\n";
        assert_eq!(
            banned(&Tree::of(&[("deny.toml", DENY), ("Cargo.lock", clean)])),
            []
        );
    }

    #[test]
    fn bans_must_exist_and_have_reasons() {
        assert_eq!(banned(&Tree::of(&[])).len(), 1);
        for deny in [
            "[bans]\ndeny = []",
            "[",
            "[bans]\ndeny = [{ crate = \"a\" }]",
        ] {
            assert_eq!(banned(&Tree::of(&[("deny.toml", deny)])).len(), 1, "{deny}");
        }
    }

    #[test]
    fn only_one_registry_is_a_source() {
        let lock = |source: &str| {
            format!(
                "[[package]]\nname = \"a\"\nsource = \"registry+x\"\n[[package]]\nname = \"own\"\n[[package]]\nname = \"b\"\nsource = \"{source}\"\n"
            )
        };
        for (source, count) in [("registry+x", 0), ("registry+y", 1), ("git+z", 1)] {
            let found = sources(&Tree::of(&[("Cargo.lock", &lock(source))]));
            assert_eq!(found.len(), count, "{source}");
        }
    }
}
