//! The rules that neither the compiler nor clippy knows; each is a function from a tree to findings.
//!
//! A rule sees files only through `Tree`, so that its tests can show on invented files that it fails
//! where it should.

mod floors;
mod golden;
mod links;
mod manifests;
mod modules;
mod owners;
mod packages;
mod sizes;
mod source;
mod text;
mod tree;

use std::path::Path;

use crate::report::{complain, say};
use tree::Tree;

/// Something a rule objects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    place: String,
    what: String,
}

impl Finding {
    pub(crate) fn new(place: &str, what: impl Into<String>) -> Self {
        Self {
            place: place.to_owned(),
            what: what.into(),
        }
    }

    fn at_line(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self::new(&format!("{path}:{line}"), what)
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

type Rule = fn(&Tree) -> Vec<Finding>;

const RULES: &[(&str, Rule)] = &[
    ("floors", floors::dependencies),
    ("floors inside repo-core", floors::inside_core),
    ("owners of packages", owners::packages),
    ("owners of the outside", owners::outside),
    ("banned packages", packages::banned),
    ("package sources", packages::sources),
    ("sizes", sizes::check),
    ("ASCII", text::ascii),
    ("work markers", text::markers),
    ("file heads", text::heads),
    ("reachable modules", modules::reachable),
    ("module names", modules::names),
    ("links", links::check),
    ("golden data", golden::check),
];

/// Checks every rule and prints every finding.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let tree = Tree::read(root)?;
    let mut findings = Vec::new();
    for (name, rule) in RULES {
        for finding in rule(&tree) {
            findings.push(Finding {
                what: format!("{} [{name}]", finding.what),
                place: finding.place,
            });
        }
    }
    if findings.is_empty() {
        say(&format!(
            "tidy: {} rules hold over {} files",
            RULES.len(),
            tree.len()
        ));
    }
    conclude("tidy", &findings)
}

/// Prints the findings and fails when there is one.
pub(crate) fn conclude(name: &str, findings: &[Finding]) -> Result<(), String> {
    for finding in findings {
        complain(&finding.to_string());
    }
    if findings.is_empty() {
        Ok(())
    } else {
        Err(format!("{name}: {} findings", findings.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_finding_is_enough_to_fail() {
        assert!(conclude("tidy", &[]).is_ok());
        assert!(conclude("tidy", &[Finding::new("a", "b")]).is_err());
        assert_eq!(Finding::at_line("a.rs", 3, "b").to_string(), "a.rs:3: b");
    }
}
