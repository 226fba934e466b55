//! Rules about the text of files: ASCII, work markers, what a file opens with.

use super::Finding;
use super::source::{Source, line_of, words};
use super::tree::Tree;

/// Rust sources are ASCII; test data of other bytes is written with escapes.
pub(super) fn ascii(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.ending(".rs") {
        for (number, line) in text.lines().enumerate() {
            if let Some(c) = line.chars().find(|c| !c.is_ascii()) {
                let what = format!("U+{:04X} is not ASCII", u32::from(c));
                findings.push(Finding::at_line(path, number + 1, what));
            }
        }
    }
    findings
}

/// A comment that leaves work for later names the issue that holds it.
pub(super) fn markers(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.ending(".rs") {
        unnumbered(path, Source::new(text).comments(), &mut findings);
    }
    for ending in [".toml", ".sh", ".py"] {
        for (path, text) in tree.ending(ending) {
            unnumbered(path, text, &mut findings);
        }
    }
    findings
}

fn unnumbered(path: &str, text: &str, findings: &mut Vec<Finding>) {
    for marker in ["TODO", "FIXME", "XXX"] {
        for at in words(text, marker) {
            if !names_issue(&text[at + marker.len()..]) {
                let what = format!("{marker} without its issue, as in {marker}(#12)");
                findings.push(Finding::at_line(path, line_of(text, at), what));
            }
        }
    }
}

fn names_issue(rest: &str) -> bool {
    let number = rest
        .strip_prefix("(#")
        .and_then(|rest| rest.split_once(')'));
    number.is_some_and(|(number, _)| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Every source file opens by saying what it owns; a `tests.rs` belongs to the file it tests.
pub(super) fn heads(tree: &Tree) -> Vec<Finding> {
    tree.ending(".rs")
        .filter(|(path, _)| path.contains("/src/") && !path.ends_with("/tests.rs"))
        .filter(|(_, text)| {
            let first = text.lines().next().unwrap_or_default();
            first
                .strip_prefix("//!")
                .is_none_or(|head| head.trim().is_empty())
        })
        .map(|(path, _)| Finding::new(path, "does not open with //! and what it owns"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_letters_are_found_in_source_only() {
        let tree = Tree::of(&[
            ("a.rs", "fn a() {}\n// caf\u{e9}\n"),
            ("b.rs", "fn b() {}"),
            ("c.md", "caf\u{e9}"),
        ]);
        assert_eq!(
            ascii(&tree),
            [Finding::at_line("a.rs", 2, "U+00E9 is not ASCII")]
        );
    }

    #[test]
    fn markers_need_an_issue() {
        for (path, text, count) in [
            ("a.rs", "// TODO: later", 1),
            ("a.rs", "// TODO(#12): later", 0),
            ("a.rs", "// FIXME(me): later", 1),
            ("a.rs", "/// XXX", 1),
            ("a.rs", "let a = \"TODO\";", 0),
            ("a.sh", "# TODO", 1),
            ("a.toml", "# FIXME(#)", 1),
            ("a.rs", "// TODOS", 0),
        ] {
            assert_eq!(markers(&Tree::of(&[(path, text)])).len(), count, "{text}");
        }
    }

    #[test]
    fn a_file_says_what_it_owns() {
        for (path, text, count) in [
            ("crates/a/src/b.rs", "//! Owns b.\n", 0),
            ("crates/a/src/b.rs", "use c::d;\n", 1),
            ("crates/a/src/b.rs", "//!\n", 1),
            ("crates/a/src/b.rs", "", 1),
            ("crates/a/src/b/tests.rs", "", 0),
            ("crates/a/tests/it/main.rs", "", 0),
        ] {
            assert_eq!(heads(&Tree::of(&[(path, text)])).len(), count, "{text}");
        }
    }
}
