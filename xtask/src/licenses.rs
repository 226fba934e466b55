//! Licenses of every package in the build against the `[licenses]` table of deny.toml.
//!
//! The part of `cargo deny` that needs cargo's resolution, for machines without it. Expressions are
//! SPDX with `AND`, `OR`, `WITH` and parentheses, and the old `/` for `OR`.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::process::Invocation;
use crate::tidy::{Finding, conclude};

/// Reports every package that no allowed license covers.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let deny = std::fs::read_to_string(root.join("deny.toml"))
        .map_err(|error| format!("deny.toml: {error}"))?;
    let allowed = allowed(&deny)?;
    let metadata =
        Invocation::new("cargo metadata --format-version 1 --all-features").output(root)?;
    conclude("licenses", &check(&metadata, &allowed)?)
}

fn allowed(deny: &str) -> Result<BTreeSet<String>, String> {
    let deny: toml::Table = deny
        .parse()
        .map_err(|error| format!("deny.toml: {error}"))?;
    let list = deny
        .get("licenses")
        .and_then(|table| table.get("allow"))
        .and_then(toml::Value::as_array)
        .ok_or("deny.toml: no licenses.allow")?;
    Ok(list
        .iter()
        .filter_map(toml::Value::as_str)
        .map(str::to_owned)
        .collect())
}

fn check(metadata: &str, allowed: &BTreeSet<String>) -> Result<Vec<Finding>, String> {
    let metadata: Value =
        serde_json::from_str(metadata).map_err(|error| format!("cargo metadata: {error}"))?;
    let packages = metadata["packages"]
        .as_array()
        .ok_or("cargo metadata: no packages")?;
    let mut findings = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or("?");
        let why = match package["license"].as_str() {
            None => "declares no license".to_owned(),
            Some(license) => match Expression::new(license).satisfied(allowed) {
                Some(true) => continue,
                Some(false) => format!("license {license} is not allowed by deny.toml"),
                None => format!("license {license} cannot be read"),
            },
        };
        let version = package["version"].as_str().unwrap_or("?");
        findings.push(Finding::new(&format!("{name} {version}"), why));
    }
    Ok(findings)
}

/// A reader of one SPDX expression.
struct Expression {
    tokens: Vec<String>,
    next: usize,
}

impl Expression {
    fn new(text: &str) -> Self {
        let spaced = text
            .replace('(', " ( ")
            .replace(')', " ) ")
            .replace('/', " OR ");
        Self {
            tokens: spaced.split_whitespace().map(str::to_owned).collect(),
            next: 0,
        }
    }

    /// Whether the allowed licenses satisfy it; nothing when it is malformed.
    fn satisfied(mut self, allowed: &BTreeSet<String>) -> Option<bool> {
        let value = self.any(allowed)?;
        (self.next == self.tokens.len()).then_some(value)
    }

    fn any(&mut self, allowed: &BTreeSet<String>) -> Option<bool> {
        let mut value = self.all(allowed)?;
        while self.take("OR") {
            value |= self.all(allowed)?;
        }
        Some(value)
    }

    fn all(&mut self, allowed: &BTreeSet<String>) -> Option<bool> {
        let mut value = self.one(allowed)?;
        while self.take("AND") {
            value &= self.one(allowed)?;
        }
        Some(value)
    }

    fn one(&mut self, allowed: &BTreeSet<String>) -> Option<bool> {
        if self.take("(") {
            let value = self.any(allowed)?;
            return self.take(")").then_some(value);
        }
        let mut license = self.word()?;
        if self.take("WITH") {
            license = format!("{license} WITH {}", self.word()?);
        }
        Some(allowed.contains(&license))
    }

    fn word(&mut self) -> Option<String> {
        let token = self.tokens.get(self.next)?;
        if ["(", ")", "AND", "OR", "WITH"].contains(&token.as_str()) {
            return None;
        }
        self.next += 1;
        Some(token.clone())
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.tokens.get(self.next).is_some_and(|next| next == token);
        self.next += usize::from(found);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn satisfied(expression: &str) -> Option<bool> {
        let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"];
        Expression::new(expression).satisfied(&allowed.map(str::to_owned).into())
    }

    #[test]
    fn expressions_bind_as_spdx_says() {
        assert_eq!(satisfied("MIT"), Some(true));
        assert_eq!(satisfied("Apache-2.0"), Some(false));
        assert_eq!(satisfied("MIT OR GPL-3.0"), Some(true));
        assert_eq!(satisfied("MIT AND GPL-3.0"), Some(false));
        assert_eq!(satisfied("MIT OR GPL-3.0 AND GPL-2.0"), Some(true));
        assert_eq!(satisfied("(MIT OR GPL-3.0) AND GPL-2.0"), Some(false));
        assert_eq!(satisfied("Apache-2.0 WITH LLVM-exception"), Some(true));
        assert_eq!(satisfied("GPL-3.0/ISC"), Some(true));
        for malformed in ["", "MIT MIT", "(MIT", "MIT OR", "AND MIT", "MIT WITH"] {
            assert_eq!(satisfied(malformed), None, "{malformed}");
        }
    }

    #[test]
    fn packages_without_an_allowed_license_are_found() {
        let metadata = r#"{"packages": [
            {"name": "a", "version": "1.0.0", "license": "MIT"},
            {"name": "b", "version": "1.0.0", "license": "GPL-3.0"},
            {"name": "c", "version": "1.0.0", "license": null}]}"#;
        let allowed = allowed("[licenses]\nallow = [\"MIT\"]").expect("a table");
        let findings = check(metadata, &allowed).expect("metadata");
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert!(check("{}", &allowed).is_err());
    }

    #[test]
    fn a_table_without_licenses_is_an_error() {
        assert!(allowed("[bans]").is_err());
    }
}
