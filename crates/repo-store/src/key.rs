//! Keys: which strings name an object.
//!
//! The alphabet is what every store and file system takes without escaping, so a key reads the
//! same in a bucket, a directory and a log line.

use object_store::path::Path;

use crate::error::Error;
use crate::limits::KEY_LEN_MAX;

/// The store path of a key, or the refusal of a string that is none.
pub(crate) fn parse(key: &str) -> Result<Path, Error> {
    let usable = key.len() <= KEY_LEN_MAX && key.split('/').all(is_segment);
    match usable.then(|| Path::parse(key)) {
        Some(Ok(path)) => Ok(path),
        _ => Err(Error::Key {
            key: key.to_owned(),
        }),
    }
}

/// The store path of a listing prefix: whole segments, or nothing for everything.
pub(crate) fn parse_prefix(prefix: &str) -> Result<Option<Path>, Error> {
    match prefix.strip_suffix('/').unwrap_or(prefix) {
        "" => Ok(None),
        segments => parse(segments).map(Some),
    }
}

fn is_segment(segment: &str) -> bool {
    !segment.is_empty()
        && segment != "."
        && segment != ".."
        && segment
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::{parse, parse_prefix};

    #[test]
    fn keys_are_plain_segments() {
        for key in ["config", "log/00000000000000000001", "packs/ab/0f-1_2.x"] {
            assert_eq!(parse(key).unwrap().as_ref(), key);
        }
        for key in [
            "", "/", "/a", "a/", "a//b", ".", "a/..", "../a", "a#1", "a b", "a\\b", "\u{e9}",
        ] {
            assert!(parse(key).is_err(), "{key:?}");
        }
        assert!(parse(&"a".repeat(513)).is_err());
    }

    #[test]
    fn prefixes_may_be_empty_or_end_in_a_slash() {
        assert_eq!(parse_prefix("").unwrap(), None);
        assert_eq!(parse_prefix("log/").unwrap(), Some("log".into()));
        assert_eq!(parse_prefix("packs/ab").unwrap(), Some("packs/ab".into()));
        assert!(parse_prefix("../x").is_err());
    }
}
