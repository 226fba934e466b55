//! Names of tables in a catalog.

use std::fmt;

use crate::error::{Error, Result};

/// Longest name with its namespace, in bytes: longer ones name no directory of a snapshot.
const NAME_MAX: usize = 255;

/// The name of a table in a catalog.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CatalogName {
    /// The namespaces around it, the outermost first; at least one.
    pub(super) namespace: Vec<String>,
    /// Its own name.
    pub(super) name: String,
}

/// A part of a catalog: all of it, a namespace, or one table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CatalogPart(Vec<String>);

fn is_name(name: &str) -> bool {
    let path = matches!(name, "" | "." | "..");
    !path && !name.contains('/') && !name.contains(|c: char| c.is_ascii_control())
}

impl CatalogName {
    /// A name from the names of its namespaces and its own.
    pub fn new(namespace: Vec<String>, name: String) -> Result<Self> {
        let found = Self { namespace, name };
        let names = found.namespace.iter().all(|name| is_name(name)) && is_name(&found.name);
        let sane = names && !found.namespace.is_empty();
        match sane && found.to_string().len() <= NAME_MAX {
            true => Ok(found),
            false => Err(Error::Location {
                location: found.to_string().chars().take(200).collect(),
                reason: "it is no name of a table in a catalog",
            }),
        }
    }

    /// Its parts as directories.
    pub(crate) fn path(&self) -> String {
        format!("{}/{}", self.namespace.join("/"), self.name)
    }
}

impl fmt::Display for CatalogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for namespace in &self.namespace {
            write!(f, "{namespace}.")?;
        }
        f.write_str(&self.name)
    }
}

impl CatalogPart {
    /// Reads names joined by dots; nothing means all.
    pub(super) fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let names: Vec<String> = text.split('.').map(str::to_owned).collect();
        match names.iter().all(|name| is_name(name)) {
            true => Ok(Self(names)),
            false => Err(Error::Location {
                location: text.chars().take(200).collect(),
                reason: "it is no namespace of a catalog",
            }),
        }
    }

    /// Whether it is the whole catalog.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    /// The names, the outermost first.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// The name of the table of this part, if it is one.
    pub(super) fn as_table(&self) -> Option<CatalogName> {
        let (name, namespace) = self.0.split_last()?;
        CatalogName::new(namespace.to_vec(), name.clone()).ok()
    }

    /// Whether it holds a table.
    pub(super) fn holds(&self, table: &CatalogName) -> bool {
        let mut whole = table.namespace.iter().chain([&table.name]);
        self.0.iter().all(|name| whole.next() == Some(name))
    }
}

impl fmt::Display for CatalogPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_holds_what_is_below_it() {
        let part = |text: &str| CatalogPart::parse(text).expect("a part");
        let name = CatalogName::new(vec!["a".into(), "b".into()], "t".into()).expect("a name");
        assert_eq!(
            (name.to_string(), name.path()),
            ("a.b.t".into(), "a/b/t".into())
        );
        for text in ["", "a", "a.b", "a.b.t"] {
            assert!(part(text).holds(&name), "{text}");
        }
        for text in ["b", "a.t", "a.b.t.u"] {
            assert!(!part(text).holds(&name), "{text}");
        }
        assert_eq!(part("a.b.t").as_table(), Some(name));
        assert_eq!(part("a").as_table(), None);
    }

    #[test]
    fn what_leads_elsewhere_is_no_name() {
        for text in ["a..b", ".", "a/b", "a.\n"] {
            assert!(CatalogPart::parse(text).is_err(), "{text}");
        }
        for (namespace, name) in [
            (vec![], "t"),
            (vec![".."], "t"),
            (vec!["a"], "b/c"),
            (vec!["a"], ""),
        ] {
            let namespace = namespace.into_iter().map(str::to_owned).collect();
            assert!(
                CatalogName::new(namespace, name.to_owned()).is_err(),
                "{name}"
            );
        }
    }
}
