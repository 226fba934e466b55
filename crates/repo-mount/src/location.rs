//! Names of files, which are bytes, in locations of an object store, which are text.

use object_store::path::Path;

/// The location of the entry `name` below `prefix`.
pub(crate) fn join(prefix: &Path, name: &[u8]) -> Path {
    let name = match std::str::from_utf8(name) {
        Ok(text) if !text.chars().any(|c| c.is_ascii_control()) => text.to_owned(),
        _ => encoded(name),
    };
    let whole = match prefix.as_ref() {
        "" => name,
        prefix => format!("{prefix}/{name}"),
    };
    // A name that a location still cannot hold is encoded as the store's own paths do.
    Path::parse(&whole).unwrap_or_else(|_| Path::from(whole))
}

fn encoded(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len() + 16);
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_ascii_control() || c == '%' {
                let mut bytes = [0; 4];
                push(&mut text, c.encode_utf8(&mut bytes).as_bytes());
            } else {
                text.push(c);
            }
        }
        push(&mut text, chunk.invalid());
    }
    text
}

fn push(text: &mut String, bytes: &[u8]) {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F',
    ];
    for byte in bytes {
        text.push('%');
        text.push(DIGITS[usize::from(byte >> 4)]);
        text.push(DIGITS[usize::from(byte & 15)]);
    }
}

/// The name that `part` of a location encodes, when it encodes anything.
pub(crate) fn decoded(part: &[u8]) -> Option<Vec<u8>> {
    let mut name = Vec::with_capacity(part.len());
    let mut rest = part;
    let mut changed = false;
    while let Some((first, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|c| char::from(*c).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                name.push(u8::try_from(high << 4 | low).unwrap_or_default());
                rest = after.get(2..).unwrap_or_default();
                changed = true;
            }
            _ => {
                name.push(*first);
                rest = after;
            }
        }
    }
    let allowed = !name.contains(&b'/') && !name.contains(&0);
    (changed && allowed).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_location_and_is_found_by_it() {
        for name in [
            &b"plain.parquet"[..],
            b"with space, ~tilde# and {braces}",
            b"part=2026-01-01",
            "gr\u{fc}n".as_bytes(),
            b"new\nline",
            b"caf\xe9 100%",
            b"100%",
            b"%41",
        ] {
            let location = join(&Path::from("dir"), name);
            let (dir, part) = location.as_ref().split_once('/').unwrap_or_default();
            assert_eq!(dir, "dir");
            let found =
                part.as_bytes() == name || decoded(part.as_bytes()).as_deref() == Some(name);
            assert!(found, "{location}");
        }
    }

    #[test]
    fn nothing_leaves_its_directory() {
        for part in ["%2F", "a%2fb", "%00"] {
            assert_eq!(decoded(part.as_bytes()), None, "{part}");
        }
        assert_eq!(decoded(b"plain"), None);
        assert_eq!(decoded(b"%4"), None);
        assert_eq!(decoded(b"%2E%2E"), Some(b"..".to_vec()));
    }
}
