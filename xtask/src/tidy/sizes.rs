//! Sizes of files: a file that grows past its limit holds two things.

use super::Finding;
use super::source::Source;
use super::tree::Tree;

/// Production lines of a source file.
const FILE_LINES_MAX: usize = 600;

/// Lines of a `lib.rs`: documentation, modules and re-exports.
const LIB_LINES_MAX: usize = 150;

/// Source files stay within the limits; files of tests alone are free.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.ending(".rs") {
        if !path.contains("/src/") || path.contains("/tests/") || path.ends_with("/tests.rs") {
            continue;
        }
        let limit = if path.ends_with("/lib.rs") {
            LIB_LINES_MAX
        } else {
            FILE_LINES_MAX
        };
        let lines = Source::new(text).production_lines();
        if lines > limit {
            let what = format!("{lines} lines of production code, the limit is {limit}");
            findings.push(Finding::new(path, what));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, production: usize, tests: usize) -> usize {
        let mut text = "fn f() {}\n".repeat(production);
        text.push_str("#[cfg(test)]\nmod tests {\n");
        text.push_str(&"fn t() {}\n".repeat(tests));
        text.push_str("}\n");
        check(&Tree::of(&[(path, &text)])).len()
    }

    #[test]
    fn production_lines_are_limited_and_tests_are_not() {
        assert_eq!(found("crates/a/src/b.rs", 600, 900), 0);
        assert_eq!(found("crates/a/src/b.rs", 601, 0), 1);
        assert_eq!(found("crates/a/src/lib.rs", 150, 900), 0);
        assert_eq!(found("crates/a/src/lib.rs", 151, 0), 1);
        assert_eq!(found("crates/a/src/b/tests.rs", 900, 0), 0);
        assert_eq!(found("crates/a/tests/it/b.rs", 900, 0), 0);
    }
}
