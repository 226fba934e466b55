//! Golden data: every directory of `tests/golden/` is read by some test.
//!
//! A repository that an older version wrote proves nothing when no test opens it.

use super::Finding;
use super::source::is_word;
use super::tree::{Tree, join, parent};

const GOLDEN: &str = "tests/golden";

/// The name of every golden directory stands in the source of a test.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let sources: Vec<&str> = [".rs", ".py", ".sh"]
        .into_iter()
        .flat_map(|ending| tree.ending(ending))
        .filter(|(path, _)| path.starts_with("tests/") || path.contains("/tests"))
        .filter(|(path, _)| !path.starts_with(&join(GOLDEN, "")))
        .map(|(_, text)| text)
        .collect();
    tree.directories()
        .filter(|directory| parent(directory) == GOLDEN)
        .filter(|directory| {
            let name = &directory[GOLDEN.len() + 1..];
            !sources.iter().any(|text| mentions(text, name))
        })
        .map(|directory| Finding::new(directory, "is named in no test"))
        .collect()
}

/// Whether the whole name stands in the text, not only as part of a longer one.
fn mentions(text: &str, name: &str) -> bool {
    let part = |c: char| is_word(c) || c == '-' || c == '.';
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        !before.is_some_and(part) && !after.is_some_and(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_golden_directory_must_be_named_by_a_test() {
        for (path, text, count) in [
            ("tests/tests/golden.rs", "open(\"tests/golden/v1\")", 0),
            ("crates/a/src/b/tests.rs", "golden(\"v1\")", 0),
            ("tests/reader.py", "'v1'", 0),
            (
                "tests/tests/golden.rs",
                "open(\"v12\"); open(\"v1-old\")",
                1,
            ),
            ("crates/a/src/b.rs", "\"v1\"", 1),
            ("tests/golden/v1/make.py", "'v1'", 1),
        ] {
            let tree = Tree::of(&[("tests/golden/v1/deep/config", ""), (path, text)]);
            let found = check(&tree);
            assert_eq!(found.len(), count, "{path} {text}: {found:?}");
        }
    }
}
