//! Edits of JSON text that leave every other byte as it is: numbers, order, spaces, unknown members.

use super::limits::JSON_DEPTH_MAX;
use super::{Error, Result};

/// Where a string stands: member names from the root down, none for an item of an array.
pub(super) type Path<'a> = &'a [Option<String>];

/// Offers every string value to `edit` and exchanges those it answers. None: nothing was changed.
pub(super) fn edit(
    text: &[u8],
    location: &str,
    mut edit: impl FnMut(Path<'_>, &str) -> Result<Option<String>>,
) -> Result<Option<Vec<u8>>> {
    let malformed = |what: &str| Error::malformed(location, what);
    // What is walked below is JSON, so that the walk need not ask.
    serde_json::from_slice::<serde::de::IgnoredAny>(text)
        .map_err(|error| malformed(&format!("not json: {error}")))?;

    let mut out = Vec::new();
    let mut copied = 0;
    let mut path: Vec<Option<String>> = Vec::new();
    // For each open bracket, whether it is an object's.
    let mut open: Vec<bool> = Vec::new();
    let mut key_is_next = false;
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'{' | b'[' => {
                if open.len() >= JSON_DEPTH_MAX {
                    return Err(malformed("json nested too deep"));
                }
                let object = *byte == b'{';
                open.push(object);
                path.push(None);
                key_is_next = object;
            }
            b'}' | b']' => {
                open.pop();
                path.pop();
                key_is_next = false;
            }
            b',' => key_is_next = open.last().copied().unwrap_or(false),
            b'"' => {
                let end = string_end(text, at).ok_or_else(|| malformed("json ends early"))?;
                let string: String = serde_json::from_slice(&text[at..end])
                    .map_err(|error| malformed(&format!("not json: {error}")))?;
                if key_is_next {
                    key_is_next = false;
                    if let Some(last) = path.last_mut() {
                        *last = Some(string);
                    }
                } else if let Some(with) = edit(&path, &string)?.filter(|with| *with != string) {
                    out.extend_from_slice(&text[copied..at]);
                    let with =
                        serde_json::to_vec(&with).map_err(|error| malformed(&error.to_string()))?;
                    out.extend_from_slice(&with);
                    copied = end;
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    if copied == 0 {
        return Ok(None);
    }
    out.extend_from_slice(&text[copied..]);
    Ok(Some(out))
}

/// The end of the string that begins at a quote.
fn string_end(text: &[u8], quote: usize) -> Option<usize> {
    let mut at = quote + 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Whether a path is the given members, `*` standing for an item of an array.
pub(super) fn is(path: Path<'_>, members: &[&str]) -> bool {
    path.len() == members.len()
        && path
            .iter()
            .zip(members)
            .all(|(part, member)| part.as_deref().unwrap_or("*") == *member)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_strings_change() {
        let text = r#" { "a" : "x\u002fy", "b":[ {"a":"1"}, "2" ,{ "a" : "3","c":{}} ],
            "n":1.50, "big":123456789012345678901234567890,"a":"again" } "#;
        let edited = edit(text.as_bytes(), "m", |path, value| {
            let wanted = is(path, &["a"]) || is(path, &["b", "*", "a"]);
            Ok(wanted.then(|| format!("<{value}\">")))
        });
        let expected = text
            .replace(r#""x\u002fy""#, r#""<x/y\">""#)
            .replace(r#""1""#, r#""<1\">""#)
            .replace(r#""3""#, r#""<3\">""#)
            .replace(r#""again""#, r#""<again\">""#);
        let edited = edited.expect("json").expect("a change");
        assert_eq!(String::from_utf8(edited).expect("text"), expected);
    }

    #[test]
    fn the_same_strings_change_nothing() {
        let text = br#"{"a":"x\/y"}"#;
        let same = edit(text, "m", |_, value| Ok(Some(value.to_owned())));
        assert_eq!(same.expect("json"), None);
    }

    #[test]
    fn broken_json_is_an_error() {
        for text in ["", "{", r#"{"a":"x}"#, r#"{"a" "b"}"#, "[1,]", "nul"] {
            assert!(
                edit(text.as_bytes(), "m", |_, _| Ok(None)).is_err(),
                "{text}"
            );
        }
        let deep = "[".repeat(1000) + &"]".repeat(1000);
        assert!(edit(deep.as_bytes(), "m", |_, _| Ok(None)).is_err());
    }
}
