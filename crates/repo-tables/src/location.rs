//! Where an object is: one spelling for all the ways a table's metadata and users write it.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::limits::LOCATION_MAX;

/// A place in a store, or on the local disk. Equal places compare equal, however they were written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Location {
    scheme: String,
    authority: String,
    /// Without slashes at its ends; on the local disk the path below `/`.
    path: String,
}

/// Schemes that mean the same.
const SAME: [(&str, &str); 4] = [("s3a", "s3"), ("s3n", "s3"), ("azure", "az"), ("adl", "az")];

const SCHEMES: [&str; 7] = ["file", "memory", "s3", "gs", "az", "abfs", "abfss"];

impl Location {
    /// Reads a URL or an absolute local path. Nothing is decoded: `%20` is three characters.
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |reason| Error::Location {
            location: text.chars().take(200).collect(),
            reason,
        };
        if text.len() > LOCATION_MAX {
            return Err(refuse("too long"));
        }
        if let Some(path) = text.strip_prefix('/') {
            return Self::new("file", "", path).map_err(refuse);
        }
        let (scheme, rest) = text
            .split_once(':')
            .ok_or_else(|| refuse("neither a URL nor an absolute path"))?;
        let scheme = scheme.to_ascii_lowercase();
        let same = SAME.iter().find(|(name, _)| *name == scheme);
        let scheme = same.map_or(scheme.as_str(), |(_, name)| name);
        if !SCHEMES.contains(&scheme) {
            return Err(refuse("not a known kind of store"));
        }
        let (authority, path) = match rest.strip_prefix("//") {
            Some(rest) => rest.split_once('/').unwrap_or((rest, "")),
            None if rest.starts_with('/') => ("", rest),
            None => return Err(refuse("not a URL")),
        };
        let local = scheme == "file";
        if local && !authority.is_empty() && authority != "localhost" {
            return Err(refuse("on another machine"));
        }
        if !local && scheme != "memory" && authority.is_empty() {
            return Err(refuse("no bucket or container"));
        }
        let authority = if local { "" } else { authority };
        Self::new(scheme, authority, path).map_err(refuse)
    }

    /// Reads what a user wrote: a URL, or a local path, also a relative one.
    pub fn from_user(text: &str) -> Result<Self> {
        let scheme = text.split_once(':').map(|(scheme, _)| scheme);
        let url = scheme.is_some_and(|scheme| {
            let scheme = scheme.to_ascii_lowercase();
            SCHEMES.contains(&scheme.as_str()) || SAME.iter().any(|(name, _)| *name == scheme)
        });
        if url || text.contains("://") {
            return Self::parse(text);
        }
        let refuse = |reason| Error::Location {
            location: text.to_owned(),
            reason,
        };
        let path = std::path::absolute(text).map_err(|_| refuse("not a path"))?;
        // Links are followed once, here, so that one table has one location.
        let path = path.canonicalize().unwrap_or(path);
        let path = path.to_str().ok_or_else(|| refuse("not UTF-8"))?;
        Self::parse(path)
    }

    fn new(scheme: &str, authority: &str, path: &str) -> Result<Self, &'static str> {
        let path = path.trim_matches('/');
        if !path.is_empty() {
            check(path)?;
        }
        Ok(Self {
            scheme: scheme.to_owned(),
            authority: authority.to_owned(),
            path: path.to_owned(),
        })
    }

    /// The place `relative` below this one.
    pub fn join(&self, relative: &str) -> Result<Self> {
        let refuse = |reason| Error::Location {
            location: relative.chars().take(200).collect(),
            reason,
        };
        if relative.len() + self.path.len() > LOCATION_MAX {
            return Err(refuse("too long"));
        }
        check(relative).map_err(refuse)?;
        let mut joined = self.clone();
        if !joined.path.is_empty() {
            joined.path.push('/');
        }
        joined.path.push_str(relative);
        Ok(joined)
    }

    /// The part of `other` below this place, when it is below.
    #[must_use]
    pub fn relative<'a>(&self, other: &'a Self) -> Option<&'a str> {
        if self.scheme != other.scheme || self.authority != other.authority {
            return None;
        }
        if self.path.is_empty() {
            return Some(&other.path);
        }
        other.path.strip_prefix(&self.path)?.strip_prefix('/')
    }

    /// The deepest directory that all of some places of one store are in.
    pub(crate) fn common(places: &[&Self]) -> Option<Self> {
        let directory = |place: &Self| {
            place
                .path
                .rsplit_once('/')
                .map_or("", |(d, _)| d)
                .to_owned()
        };
        let mut common = (*places.first()?).clone();
        common.path = directory(&common);
        for place in places {
            while common.relative(place).is_none() {
                common.path = directory(&common);
            }
        }
        Some(common)
    }

    /// Its last name; that of the bucket when there is none.
    #[must_use]
    pub fn name(&self) -> &str {
        match self.path.rsplit('/').next() {
            Some(name) if !name.is_empty() => name,
            _ => &self.authority,
        }
    }

    /// Kind of store.
    #[must_use]
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// Bucket or container; empty on the local disk.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Key in the store, or path below `/`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The local path, when it is one.
    #[must_use]
    pub fn local(&self) -> Option<PathBuf> {
        (self.scheme == "file").then(|| Path::new("/").join(&self.path))
    }

    /// Where the store begins that this place is in.
    pub(crate) fn store(&self) -> String {
        format!("{}://{}/", self.scheme, self.authority)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scheme == "file" {
            return write!(f, "/{}", self.path);
        }
        write!(f, "{}://{}/{}", self.scheme, self.authority, self.path)
    }
}

/// Refuses what would lead elsewhere, or what no store keeps as it is.
fn check(path: &str) -> Result<(), &'static str> {
    for name in path.split('/') {
        match name {
            "" => return Err("a name in it is empty"),
            "." | ".." => return Err("it has . or .. in it"),
            name if name.chars().any(|c| c.is_ascii_control()) => {
                return Err("it has control characters in it");
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_place_are_equal() {
        for (one, other) in [
            ("file:/a/b", "/a/b"),
            ("file:///a/b/", "/a/b"),
            ("file://localhost/a/b", "/a/b"),
            ("s3a://k/a", "s3://k/a"),
            ("S3N://k/a/", "s3://k/a"),
        ] {
            let (one, other) = (Location::parse(one), Location::parse(other));
            assert_eq!(one.expect("a place"), other.expect("a place"));
        }
    }

    #[test]
    fn below_ends_at_a_name() {
        let table = Location::parse("s3://k/tbl").expect("a place");
        let file = Location::parse("s3://k/tbl/p=1/f").expect("a place");
        let other = Location::parse("s3://k/tbl_backup/f").expect("a place");
        assert_eq!(table.relative(&file), Some("p=1/f"));
        assert_eq!(table.relative(&other), None);
        assert_eq!(table.join("p=1/f").expect("a place"), file);
        let bucket = Location::parse("s3://k").expect("a place");
        assert_eq!(bucket.relative(&file), Some("tbl/p=1/f"));
        assert_eq!(bucket.to_string(), "s3://k/");
    }

    #[test]
    fn places_have_a_common_directory() {
        let common = |texts: &[&str]| {
            let places: Vec<_> = texts.iter().map(|text| Location::parse(text)).collect();
            let places: Vec<_> = places
                .iter()
                .map(|place| place.as_ref().expect("a place"))
                .collect();
            Location::common(&places).map(|place| place.to_string())
        };
        assert_eq!(common(&[]), None);
        assert_eq!(common(&["/a/b/c", "/a/b/d/e"]).as_deref(), Some("/a/b"));
        assert_eq!(common(&["/a/b/c", "/a/bc"]).as_deref(), Some("/a"));
        assert_eq!(
            common(&["s3://k/a", "s3://k/b/c"]).as_deref(),
            Some("s3://k/")
        );
    }

    #[test]
    fn what_leads_elsewhere_is_refused() {
        for text in [
            "",
            "a/b",
            "ftp://h/a",
            "s3:///a",
            "file://other/a",
            "/a/../b",
            "s3://k/a//b",
            "/a/\n",
        ] {
            assert!(Location::parse(text).is_err(), "{text}");
        }
        let table = Location::parse("/t").expect("a place");
        for text in ["", "../x", "a/../../x", "/x", "a/./b"] {
            assert!(table.join(text).is_err(), "{text}");
        }
    }
}
