//! From what a log writes to a place: URIs, decoded once, and the names of deletion vectors.

use std::fmt::Write as _;

use super::action::Vector;
use crate::error::{Error, Result};
use crate::location::Location;

/// The digits of Z85, by value.
const Z85: &[u8; 85] =
    b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

/// A UUID in Z85.
const UUID_LEN: usize = 20;

/// The place that a path in a log of `table` means: relative to it, or absolute in shallow clones.
pub(crate) fn resolve(table: &Location, path: &str) -> Result<Location> {
    let decoded = decode(path).ok_or_else(|| refuse(path, "not an encoded path"))?;
    if let Some(absolute) = decoded.strip_prefix('/') {
        let root = format!("{}{absolute}", table.store());
        return Location::parse(&root);
    }
    if is_url(path) {
        return Location::parse(&decoded);
    }
    table.join(&decoded)
}

/// Whether a path begins with a scheme. A partition's colon comes after other characters or is encoded.
fn is_url(path: &str) -> bool {
    let Some((scheme, rest)) = path.split_once(':') else {
        return false;
    };
    let mut letters = scheme.bytes();
    rest.starts_with('/')
        && letters
            .next()
            .is_some_and(|byte| byte.is_ascii_alphabetic())
        && letters.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

/// Replaces each `%XX`, once.
fn decode(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let value = digit()? * 16 + digit()?;
        bytes.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// The file of a deletion vector; none when the vector is in the log itself.
pub(crate) fn vector_file(table: &Location, vector: &Vector) -> Result<Option<Location>> {
    let path = vector.path_or_inline_dv.as_str();
    match vector.storage_type.as_str() {
        "i" => Ok(None),
        "p" => resolve(table, path).map(Some),
        "u" => {
            let split = path.len().checked_sub(UUID_LEN);
            let parts = split.and_then(|split| path.split_at_checked(split));
            let uuid = parts.and_then(|(prefix, uuid)| Some((prefix, uuid_text(uuid)?)));
            let (prefix, uuid) = uuid.ok_or_else(|| refuse(path, "not a deletion vector"))?;
            let directory = match prefix {
                "" => String::new(),
                prefix => format!("{prefix}/"),
            };
            let name = format!("{directory}deletion_vector_{uuid}.bin");
            table.join(&name).map(Some)
        }
        _ => Err(refuse(path, "not a known kind of deletion vector")),
    }
}

/// The usual text of a UUID in Z85.
fn uuid_text(encoded: &str) -> Option<String> {
    let mut text = String::with_capacity(36);
    for group in encoded.as_bytes().chunks(5) {
        let mut value = 0_u64;
        for digit in group {
            let digit = Z85.iter().position(|known| known == digit)?;
            value = value * 85 + u64::try_from(digit).ok()?;
        }
        let value = u32::try_from(value).ok()?;
        write!(text, "{value:08x}").ok()?;
    }
    for at in [8, 13, 18, 23] {
        text.insert(at, '-');
    }
    Some(text)
}

fn refuse(path: &str, reason: &'static str) -> Error {
    Error::Location {
        location: path.chars().take(200).collect(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Location {
        Location::parse("s3://k/t").expect("a place")
    }

    #[test]
    fn paths_are_decoded_once() {
        for (path, place) in [
            ("a.parquet", "s3://k/t/a.parquet"),
            ("p=a%2520b%252F/x", "s3://k/t/p=a%20b%2F/x"),
            ("p=%C3%A9/x", "s3://k/t/p=\u{e9}/x"),
            ("p=a:b/x", "s3://k/t/p=a:b/x"),
            ("s3a://other/d/x%20y", "s3://other/d/x y"),
            ("file:/a/x", "/a/x"),
            ("/d/x", "s3://k/d/x"),
        ] {
            let resolved = resolve(&table(), path).expect(path);
            assert_eq!(resolved.to_string(), place);
        }
        for path in [
            "../x",
            "a/../../x",
            "%2e%2e/x",
            "a%zz",
            "a%2",
            "",
            "ftp://h/x",
            "a%ff",
        ] {
            assert!(resolve(&table(), path).is_err(), "{path}");
        }
    }

    #[test]
    fn vectors_name_their_file() {
        let vector = |kind: &str, path: &str| Vector {
            storage_type: kind.to_owned(),
            path_or_inline_dv: path.to_owned(),
            ..Vector::default()
        };
        // The example of the protocol.
        let relative = vector("u", "ab^-aqEH.-t@S}K{vb[*k^");
        let file = vector_file(&table(), &relative)
            .expect("a vector")
            .expect("a file");
        assert_eq!(
            file.to_string(),
            "s3://k/t/ab/deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin"
        );
        let inline = vector("i", "wi5b=000010000siXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L");
        assert_eq!(vector_file(&table(), &inline).expect("a vector"), None);
        let absolute = vector("p", "s3://k/x/deletion_vector_1.bin");
        let file = vector_file(&table(), &absolute)
            .expect("a vector")
            .expect("a file");
        assert_eq!(file.to_string(), "s3://k/x/deletion_vector_1.bin");
        for (kind, path) in [
            ("u", "short"),
            (
                "u",
                "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}",
            ),
            ("u", "~~~~~~~~~~~~~~~~~~~~"),
            ("x", "y"),
        ] {
            assert!(
                vector_file(&table(), &vector(kind, path)).is_err(),
                "{kind} {path}"
            );
        }
    }
}
