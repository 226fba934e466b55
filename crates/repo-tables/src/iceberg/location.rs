//! Locations: when two spellings mean the same place, and what they become when prefixes move.

use std::borrow::Cow;

use super::limits::LOCATION_MAX;
use super::{Error, Result};
use crate::location::Location;
use crate::record::outside_path;

/// A location in the spelling by which it is compared. Engines write `file:/a`, `file:///a` and `/a` for one
/// place, and `s3`, `s3a` and `s3n` for one store, even within one table.
fn normal(location: &str) -> Cow<'_, str> {
    let trimmed = location.trim_end_matches('/');
    if trimmed.starts_with('/') {
        return Cow::Owned(format!("file:/{}", trimmed.trim_start_matches('/')));
    }
    let Some((scheme, rest)) = trimmed.split_once(':') else {
        return Cow::Borrowed(trimmed);
    };
    match scheme.to_ascii_lowercase().as_str() {
        "file" if rest.starts_with('/') => {
            // Two slashes begin a host, and the only host of a file is this one.
            let rest = rest.strip_prefix("//localhost/").unwrap_or(rest);
            Cow::Owned(format!("file:/{}", rest.trim_start_matches('/')))
        }
        "s3" | "s3a" | "s3n" => Cow::Owned(format!("s3:{rest}")),
        _ => Cow::Borrowed(trimmed),
    }
}

/// Refuses what could lead elsewhere than it seems to.
pub(super) fn check(path: &str, within: &str) -> Result<()> {
    if path.is_empty() || path.len() > LOCATION_MAX {
        let what = format!("a location of {} bytes", path.len());
        return Err(Error::malformed(within, what));
    }
    if path.split(['/', '\\']).any(|component| component == "..") {
        return Err(Error::Escape {
            path: path.to_owned(),
            within: within.to_owned(),
        });
    }
    Ok(())
}

#[derive(Debug, Clone)]
struct Pair {
    /// As it is compared.
    from: String,
    to: String,
    spelled: String,
    /// Both are the same place: what is below keeps its spelling.
    stays: bool,
}

/// The prefixes that a move exchanges. The longest that covers a location decides; a prefix that is given as
/// its own target stays where it is.
#[derive(Debug, Clone)]
pub struct Prefixes {
    pairs: Vec<Pair>,
    /// Where what no prefix covers goes.
    rest: Option<String>,
}

impl Prefixes {
    /// Prefixes and what each becomes.
    pub fn new<F: AsRef<str>, T: AsRef<str>>(
        pairs: impl IntoIterator<Item = (F, T)>,
    ) -> Result<Self> {
        let mut read: Vec<Pair> = Vec::new();
        for (spelled, to) in pairs {
            let (spelled, to) = (spelled.as_ref(), to.as_ref());
            let from = normal(spelled).into_owned();
            let target = normal(to).into_owned();
            for (prefix, given) in [(&from, spelled), (&target, to)] {
                check(given, given)?;
                let place = prefix
                    .split_once(':')
                    .map_or(prefix.as_str(), |(_, rest)| rest);
                if place.trim_matches('/').is_empty() {
                    let prefix = given.to_owned();
                    return Err(Error::Prefix { prefix });
                }
            }
            if let Some(known) = read.iter().find(|known| known.from == from) {
                return Err(Error::PrefixTwice {
                    first: known.spelled.clone(),
                    second: spelled.to_owned(),
                });
            }
            read.push(Pair {
                stays: from == target,
                from,
                to: to.trim_end_matches('/').to_owned(),
                spelled: spelled.to_owned(),
            });
        }
        read.sort_by_key(|pair| std::cmp::Reverse(pair.from.len()));
        Ok(Self {
            pairs: read,
            rest: None,
        })
    }

    /// Moves what no prefix covers below `place`, to `outside/<scheme>/<bucket or ->/<path>` there.
    #[must_use]
    pub fn with_rest(mut self, place: &str) -> Self {
        self.rest = Some(place.trim_end_matches('/').to_owned());
        self
    }

    /// Whether nothing moves.
    pub fn is_identity(&self) -> bool {
        self.rest.is_none() && self.pairs.iter().all(|pair| pair.stays)
    }

    /// What a location becomes; none when no prefix covers it.
    pub fn get<'a>(&self, path: &'a str) -> Option<Cow<'a, str>> {
        let place = normal(path);
        let covers = |pair: &&Pair| {
            let rest = place.strip_prefix(pair.from.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let Some(pair) = self.pairs.iter().find(covers) else {
            let outside = outside_path(&Location::parse(path).ok()?);
            return Some(Cow::Owned(format!("{}/{outside}", self.rest.as_ref()?)));
        };
        if pair.stays {
            return Some(Cow::Borrowed(path));
        }
        let rest = &place[pair.from.len()..];
        let trailing = &path[path.trim_end_matches('/').len()..];
        Some(Cow::Owned(format!("{}{rest}{trailing}", pair.to)))
    }

    /// What a location becomes, or an error that names it and the file it stands in.
    pub(super) fn map<'a>(&self, path: &'a str, within: &str) -> Result<Cow<'a, str>> {
        check(path, within)?;
        self.get(path).ok_or_else(|| Error::Outside {
            path: path.to_owned(),
            within: within.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn becomes(pairs: &[(&str, &str)], path: &str, expected: Option<&str>) {
        let prefixes = Prefixes::new(pairs.iter().copied()).expect("prefixes");
        assert_eq!(prefixes.get(path).as_deref(), expected, "{path}");
    }

    #[test]
    fn spellings_of_one_place_are_one() {
        for from in ["file:///a/t", "file:/a/t/", "/a/t", "file://localhost/a/t"] {
            for path in ["file:///a/t/x", "file:/a/t/x", "/a/t/x"] {
                becomes(&[(from, "s3://b/t")], path, Some("s3://b/t/x"));
            }
        }
        for path in ["s3://b/t/x", "s3a://b/t/x", "s3n://b/t/x", "S3://b/t/x"] {
            becomes(&[("s3a://b/t", "/z")], path, Some("/z/x"));
        }
        becomes(&[("gs://b/t", "gs://c")], "s3://b/t/x", None);
    }

    #[test]
    fn prefixes_end_at_components_and_the_longest_wins() {
        becomes(&[("/a/t", "/b")], "/a/t_backup/x", None);
        becomes(&[("/a/t", "/b")], "/a/t", Some("/b"));
        becomes(&[("/a/t", "/b/")], "/a/t/", Some("/b/"));
        let nested = [("/a", "/1"), ("/a/t", "/2"), ("/a/t/u", "/3")];
        becomes(&nested, "/a/x", Some("/1/x"));
        becomes(&nested, "/a/t/x", Some("/2/x"));
        becomes(&nested, "/a/t/u/x", Some("/3/x"));
    }

    #[test]
    fn what_stays_keeps_its_spelling() {
        let pairs = [("/a/t", "file:///a/t"), ("/a/t/moves", "/z")];
        for path in ["file:/a/t/x", "file:///a/t/", "/a/t"] {
            becomes(&pairs, path, Some(path));
        }
        becomes(&pairs, "/a/t/moves/x", Some("/z/x"));
        let identity = |pairs: &[(&str, &str)]| {
            Prefixes::new(pairs.iter().copied())
                .expect("prefixes")
                .is_identity()
        };
        assert!(identity(&pairs[..1]));
        assert!(!identity(&pairs));
    }

    #[test]
    fn the_rest_goes_where_a_snapshot_has_it() {
        let prefixes = Prefixes::new([("s3a://b/t", "/z")]).expect("prefixes");
        let prefixes = prefixes.with_rest("/z/");
        let becomes = |path: &str| prefixes.get(path).map(Cow::into_owned);
        assert_eq!(becomes("s3://b/t/x").as_deref(), Some("/z/x"));
        assert_eq!(
            becomes("s3a://b/u/x").as_deref(),
            Some("/z/outside/s3/b/u/x")
        );
        assert_eq!(
            becomes("file:///a/x/").as_deref(),
            Some("/z/outside/file/-/a/x")
        );
        assert_eq!(becomes("hdfs://h/a"), None);
        assert!(!prefixes.is_identity());
    }

    #[test]
    fn what_cannot_move_is_refused() {
        let refused = |pairs: &[(&str, &str)]| Prefixes::new(pairs.iter().copied()).is_err();
        assert!(refused(&[("/", "/b")]));
        assert!(refused(&[("s3://", "/b")]));
        assert!(refused(&[("/a", "file:///")]));
        assert!(refused(&[("", "/b")]));
        assert!(refused(&[("/a/../c", "/b")]));
        assert!(refused(&[("/a", "/b"), ("file:/a/", "/c")]));
        let prefixes = Prefixes::new([("/a", "/b")]).expect("prefixes");
        for path in ["/a/../etc/x", "/a/..", "/a/x\\..\\y"] {
            assert!(matches!(prefixes.map(path, "m"), Err(Error::Escape { .. })));
        }
        assert!(prefixes.map("/a/..x/y..", "m").is_ok());
        let outside = prefixes.map("/c", "m").expect_err("it is outside");
        assert_eq!(
            outside.to_string(),
            "/c, named by m, is below none of the prefixes that move"
        );
    }
}
