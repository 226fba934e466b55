//! Rust source split into code, comments and test parts, without parsing it.
//!
//! All views keep every byte position and line break of the file, so a position in one is the same
//! position in the others.

use std::ops::Range;

/// One file in views of equal length.
pub(super) struct Source {
    code: String,
    comments: String,
    tests: Vec<Range<usize>>,
}

impl Source {
    pub(super) fn new(text: &str) -> Self {
        let (code, comments) = split(text);
        let tests = test_items(&code);
        Self {
            code,
            comments,
            tests,
        }
    }

    /// The code with comments and the insides of literals blanked.
    pub(super) fn code(&self) -> &str {
        &self.code
    }

    /// The comments with everything else blanked.
    pub(super) fn comments(&self) -> &str {
        &self.comments
    }

    /// The code without items under `#[cfg(test)]`.
    pub(super) fn production(&self) -> String {
        let mut bytes = self.code.clone().into_bytes();
        for range in &self.tests {
            blank(&mut bytes, range.clone());
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Lines that are not wholly inside an item under `#[cfg(test)]`.
    pub(super) fn production_lines(&self) -> usize {
        let inside: usize = self
            .tests
            .iter()
            .map(|range| self.code[range.clone()].lines().count())
            .sum();
        self.code.lines().count() - inside
    }
}

/// The line of a position, counted from one.
pub(super) fn line_of(text: &str, position: usize) -> usize {
    text.as_bytes()[..position]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
        + 1
}

/// Positions of `needle` where no longer word or path ends in it.
pub(super) fn words<'a>(code: &'a str, needle: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(needle).filter_map(move |(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + needle.len()..].chars().next();
        let open_end = needle.ends_with(is_word) && after.is_some_and(is_word);
        (!before.is_some_and(is_word) && !open_end).then_some(at)
    })
}

/// Whether a character can be part of an identifier.
pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn blank(bytes: &mut [u8], range: Range<usize>) {
    for byte in &mut bytes[range] {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
}

fn split(text: &str) -> (String, String) {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut comments = bytes.to_vec();
    let mut at = 0;
    let mut code_from = 0;
    while at < bytes.len() {
        let Some((end, comment)) = literal_or_comment(bytes, at) else {
            at += 1;
            continue;
        };
        if comment {
            blank(&mut code, at..end);
            blank(&mut comments, code_from..at);
            code_from = end;
        } else if end > at + 2 {
            // The quotes stay, so that a literal remains visible as one.
            blank(&mut code, at + 1..end - 1);
        }
        at = end;
    }
    blank(&mut comments, code_from..bytes.len());
    let string = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (string(code), string(comments))
}

/// The end of what begins here, and whether it is a comment.
fn literal_or_comment(bytes: &[u8], at: usize) -> Option<(usize, bool)> {
    let rest = &bytes[at..];
    let end_of = |length: usize| (at + length).min(bytes.len());
    if rest.starts_with(b"//") {
        let length = rest.iter().position(|byte| *byte == b'\n');
        return Some((end_of(length.unwrap_or(rest.len())), true));
    }
    if rest.starts_with(b"/*") {
        return Some((end_of(block_comment(rest)), true));
    }
    let after_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    match rest.first()? {
        b'"' => Some((end_of(quoted(rest, b'"')), false)),
        b'r' if !after_word || matches!(bytes[at - 1], b'b' | b'c') => {
            raw_string(rest).map(|length| (end_of(length), false))
        }
        b'\'' => character(rest).map(|length| (end_of(length), false)),
        _ => None,
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw_string(rest: &[u8]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.resize(1 + hashes, b'#');
    let body = 2 + hashes;
    let length = rest[body..]
        .windows(close.len())
        .position(|window| window == close)
        .map_or(rest.len(), |found| body + found + close.len());
    Some(length)
}

/// A character literal; a lifetime is none.
fn character(rest: &[u8]) -> Option<usize> {
    if rest.get(1) == Some(&b'\\') {
        return Some(quoted(rest, b'\''));
    }
    // One character of up to four bytes, then the closing quote.
    let close = rest
        .iter()
        .skip(2)
        .take(4)
        .position(|byte| *byte == b'\'')?
        + 2;
    let inside = std::str::from_utf8(&rest[1..close]).ok()?;
    (inside.chars().count() == 1).then_some(close + 1)
}

fn test_items(code: &str) -> Vec<Range<usize>> {
    let mut items: Vec<Range<usize>> = Vec::new();
    for (at, attribute) in code.match_indices("#[cfg(test)]") {
        if items.last().is_some_and(|last| at < last.end) {
            continue;
        }
        items.push(at..item_end(code, at + attribute.len()));
    }
    items
}

/// Where the item that follows ends: at its `;`, or behind the brace that closes its body.
fn item_end(code: &str, from: usize) -> usize {
    let (mut braces, mut others) = (0_usize, 0_usize);
    for (offset, c) in code[from..].char_indices() {
        match c {
            '(' | '[' => others += 1,
            ')' | ']' => others = others.saturating_sub(1),
            '{' => braces += 1,
            '}' => {
                braces = braces.saturating_sub(1);
                if braces == 0 {
                    return from + offset + 1;
                }
            }
            ';' if braces == 0 && others == 0 => return from + offset + 1,
            _ => {}
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_comments_are_no_code() {
        let text = "let a = \"x // y\"; // env::var\nlet b = r#\"q\"z\"#; /* a /* b */ c */ let c = '\"'; fn f<'a>(d: &'a str) {}\n";
        let source = Source::new(text);
        assert_eq!(source.code().len(), text.len());
        assert!(!source.code().contains("env") && !source.code().contains("x //"));
        assert!(!source.code().contains('q') && !source.code().contains(" b */"));
        assert!(
            source.code().contains("fn f<'a>(d: &'a str) {}"),
            "{}",
            source.code()
        );
        assert!(source.comments().contains("// env::var"));
        assert!(source.comments().contains("/* a /* b */ c */"));
        assert!(!source.comments().contains("let"));
    }

    #[test]
    fn escapes_do_not_end_a_literal() {
        let source = Source::new(r#"let a = "\" exit"; let b = '\''; let c = b"\\"; done"#);
        assert!(!source.code().contains("exit"));
        assert!(source.code().ends_with("done"));
    }

    #[test]
    fn unclosed_input_ends_at_its_end() {
        for text in [
            "\"a",
            "/* a",
            "r#\"a",
            "'\\",
            "'",
            "\"\\",
            "r#",
            "#[cfg(test)]",
        ] {
            assert_eq!(Source::new(text).code().len(), text.len(), "{text}");
        }
    }

    #[test]
    fn test_items_are_no_production() {
        let text = "fn a() {}\n#[cfg(test)]\nuse b::c;\nfn d() {}\n#[cfg(test)]\nmod tests {\n    fn e() {}\n}\nfn g() {}\n#[cfg(test)]\nmod other;\n";
        let source = Source::new(text);
        let production = source.production();
        for kept in ["fn a", "fn d", "fn g"] {
            assert!(production.contains(kept), "{production}");
        }
        for dropped in ["use b", "mod tests", "fn e", "mod other"] {
            assert!(!production.contains(dropped), "{production}");
        }
        assert_eq!(source.production_lines(), 3);
    }

    #[test]
    fn words_are_whole() {
        let found: Vec<_> = words("env::a my_env::b (env::c", "env::").collect();
        assert_eq!(found, [0, 18]);
        assert_eq!(words("async asynchronous", "async").count(), 1);
        assert_eq!(line_of("a\nb\nc", 4), 3);
    }
}
