//! Modules: every source file is part of a build, and none is named after nothing.
//!
//! A file of tests that no `mod` names passes for ever. The search starts where cargo starts (the
//! targets of each package) and follows `mod` items; what it does not meet is forgotten.

use std::collections::BTreeSet;

use super::Finding;
use super::manifests::{Package, packages};
use super::source::{Source, is_word, line_of};
use super::tree::{Tree, join, parent};

/// Names that gather what has no owner.
const REFUSED: [&str; 6] = ["util", "utils", "common", "misc", "helper", "helpers"];

/// A `mod` item: where its file would be.
#[derive(Debug, PartialEq, Eq)]
struct Item {
    name: String,
    /// Modules written around it in the same file.
    around: Vec<String>,
    /// The value of a `path` attribute.
    path: Option<String>,
    /// Whether its body is in the file itself.
    inline: bool,
    line: usize,
}

/// Every source file of a package is reached from one of its targets.
pub(super) fn reachable(tree: &Tree) -> Vec<Finding> {
    let (packages, mut findings) = packages(tree);
    let mut reached = BTreeSet::new();
    for package in &packages {
        for root in roots(tree, package) {
            follow(tree, &root, parent(&root).to_owned(), &mut reached);
        }
    }
    for (path, _) in tree.ending(".rs") {
        let inside = packages
            .iter()
            .any(|package| path.starts_with(&join(&package.directory, "")));
        if inside && !reached.contains(path) {
            findings.push(Finding::new(path, "is part of no build: no mod names it"));
        }
    }
    findings
}

/// No file, directory or module bears a refused name.
pub(super) fn names(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.ending(".rs") {
        let stem = path.trim_end_matches(".rs");
        if stem.split('/').any(|part| REFUSED.contains(&part)) {
            findings.push(Finding::new(path, "is named after nothing it owns"));
        }
        for item in items(text) {
            if item.inline && REFUSED.contains(&item.name.as_str()) {
                let what = format!("mod {} is named after nothing it owns", item.name);
                findings.push(Finding::at_line(path, item.line, what));
            }
        }
    }
    findings
}

fn roots(tree: &Tree, package: &Package) -> Vec<String> {
    let directory = &package.directory;
    let mut roots: Vec<String> = package
        .targets
        .iter()
        .map(|target| join(directory, target))
        .collect();
    for name in ["build.rs", "src/lib.rs", "src/main.rs"] {
        roots.push(join(directory, name));
    }
    for (kind, place) in [
        ("bin", "src/bin"),
        ("test", "tests"),
        ("bench", "benches"),
        ("example", "examples"),
    ] {
        if package.not_found.contains(&kind) {
            continue;
        }
        let place = format!("{}/", join(directory, place));
        for (path, _) in tree.ending(".rs") {
            if let Some(rest) = path.strip_prefix(&place) {
                let own_directory = rest.ends_with("/main.rs") && rest.matches('/').count() == 1;
                if !rest.contains('/') || own_directory {
                    roots.push(path.to_owned());
                }
            }
        }
    }
    roots
}

/// Marks a file and everything its `mod` items name; `children` is where its submodules are.
fn follow(tree: &Tree, path: &str, children: String, reached: &mut BTreeSet<String>) {
    let Some(text) = tree.get(path) else {
        return;
    };
    if !reached.insert(path.to_owned()) {
        return;
    }
    for item in items(text).into_iter().filter(|item| !item.inline) {
        let place = item
            .around
            .iter()
            .fold(children.clone(), |place, name| join(&place, name));
        if let Some(given) = item.path {
            let from = if item.around.is_empty() {
                parent(path).to_owned()
            } else {
                place
            };
            let file = join(&from, &given);
            follow(tree, &file, parent(&file).to_owned(), reached);
            continue;
        }
        let below = join(&place, &item.name);
        follow(tree, &format!("{below}.rs"), below.clone(), reached);
        follow(tree, &format!("{below}/mod.rs"), below, reached);
    }
}

/// The `mod` items of a file, in order.
fn items(text: &str) -> Vec<Item> {
    let source = Source::new(text);
    let code = source.code();
    let mut items = Vec::new();
    let mut around: Vec<(String, usize)> = Vec::new();
    let mut depth = 0_usize;
    let mut path = None;
    let mut at = 0;
    while let Some(c) = code[at..].chars().next() {
        if !is_word(c) {
            match c {
                '{' => depth += 1,
                '}' => {
                    depth = depth.saturating_sub(1);
                    around.retain(|(_, opened)| *opened <= depth);
                }
                _ => {}
            }
            if matches!(c, '{' | '}' | ';') {
                path = None;
            }
            at += c.len_utf8();
            continue;
        }
        let word = leading_word(&code[at..]);
        let start = at;
        at += word.len();
        if word == "path" {
            path = quoted_after(code, text, at).or(path);
        }
        if word != "mod" {
            continue;
        }
        let gap = code[at..].len() - code[at..].trim_start().len();
        let name = leading_word(&code[at + gap..]).to_owned();
        let after = code[at + gap + name.len()..].trim_start();
        let inline = after.starts_with('{');
        if name.is_empty() || !(inline || after.starts_with(';')) {
            continue;
        }
        at += gap + name.len();
        items.push(Item {
            name: name.clone(),
            around: around.iter().map(|(name, _)| name.clone()).collect(),
            path: path.take(),
            inline,
            line: line_of(code, start),
        });
        if inline {
            around.push((name, depth + 1));
        }
    }
    items
}

fn leading_word(text: &str) -> &str {
    &text[..text.find(|c| !is_word(c)).unwrap_or(text.len())]
}

/// The literal in `= "..."` after a position; the code view has its quotes, the text its content.
fn quoted_after(code: &str, text: &str, at: usize) -> Option<String> {
    let rest = &code[at..];
    let value = rest.trim_start().strip_prefix('=')?.trim_start();
    let open = at + rest.len() - value.len();
    value.strip_prefix('"')?;
    let length = text.get(open + 1..)?.find('"')?;
    Some(text[open + 1..open + 1 + length].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: (&str, &str) = ("crates/a/Cargo.toml", "[package]\nname = \"a\"");

    fn forgotten(files: &[(&str, &str)]) -> Vec<String> {
        let mut all = vec![MANIFEST];
        all.extend_from_slice(files);
        let findings = reachable(&Tree::of(&all));
        findings.into_iter().map(|finding| finding.place).collect()
    }

    #[test]
    fn modules_are_followed_wherever_they_may_be() {
        let files = [
            (
                "crates/a/src/lib.rs",
                "mod b;\nmod c;\nmod d { mod e; }\n#[path = \"odd.rs\"]\nmod f;\nmod g;",
            ),
            ("crates/a/src/b.rs", "#[cfg(test)]\nmod tests;"),
            ("crates/a/src/b/tests.rs", ""),
            ("crates/a/src/c/mod.rs", "mod h;"),
            ("crates/a/src/c/h.rs", ""),
            ("crates/a/src/d/e.rs", ""),
            ("crates/a/src/odd.rs", ""),
            ("crates/a/src/g.rs", ""),
            ("crates/a/src/bin/tool.rs", ""),
            ("crates/a/tests/it/main.rs", "mod one;"),
            ("crates/a/tests/it/one.rs", ""),
            ("crates/a/benches/speed.rs", ""),
            ("crates/a/build.rs", ""),
        ];
        assert_eq!(forgotten(&files), [""; 0]);
    }

    #[test]
    fn forgotten_files_are_found() {
        for (files, lost) in [
            (
                vec![
                    ("crates/a/src/lib.rs", "mod b;"),
                    ("crates/a/src/b.rs", ""),
                    ("crates/a/src/b/tests.rs", ""),
                ],
                "crates/a/src/b/tests.rs",
            ),
            (
                vec![
                    ("crates/a/src/lib.rs", "// mod b;"),
                    ("crates/a/src/b.rs", ""),
                ],
                "crates/a/src/b.rs",
            ),
            (
                vec![
                    ("crates/a/src/lib.rs", "mod b { mod c; }"),
                    ("crates/a/src/c.rs", ""),
                ],
                "crates/a/src/c.rs",
            ),
            (
                vec![
                    ("crates/a/tests/it/main.rs", ""),
                    ("crates/a/tests/it/one.rs", ""),
                ],
                "crates/a/tests/it/one.rs",
            ),
        ] {
            assert_eq!(forgotten(&files), [lost]);
        }
    }

    #[test]
    fn targets_that_cargo_does_not_look_for_must_be_listed() {
        let manifest = "[package]\nname = \"f\"\nautobins = false\n[[bin]]\nname = \"x\"\npath = \"targets/x.rs\"";
        let tree = Tree::of(&[
            ("fuzz/Cargo.toml", manifest),
            ("fuzz/targets/x.rs", ""),
            ("fuzz/targets/y.rs", ""),
            ("fuzz/src/bin/z.rs", ""),
        ]);
        let places: Vec<_> = reachable(&tree)
            .into_iter()
            .map(|finding| finding.place)
            .collect();
        assert_eq!(places, ["fuzz/src/bin/z.rs", "fuzz/targets/y.rs"]);
    }

    #[test]
    fn items_know_what_is_around_them() {
        let found =
            items("pub(crate) mod a { fn f() { let x = 1; }\n mod b; }\nmod c;\nlet modx = mod_y;");
        let told: Vec<_> = found
            .iter()
            .map(|item| {
                (
                    item.name.as_str(),
                    item.around.join("/"),
                    item.inline,
                    item.line,
                )
            })
            .collect();
        let expected = [
            ("a", "", true, 1),
            ("b", "a", false, 2),
            ("c", "", false, 3),
        ];
        assert_eq!(
            told,
            expected.map(|(name, around, inline, line)| (name, around.to_owned(), inline, line))
        );
    }

    #[test]
    fn names_without_an_owner_are_found() {
        for (path, text, count) in [
            ("crates/a/src/utils.rs", "", 1),
            ("crates/a/src/misc/b.rs", "", 1),
            ("crates/a/tests/common/mod.rs", "", 1),
            ("crates/a/src/b.rs", "mod helpers { }", 1),
            ("crates/a/src/b.rs", "// mod helpers {}\nmod commonly {}", 0),
        ] {
            assert_eq!(
                names(&Tree::of(&[(path, text)])).len(),
                count,
                "{path} {text}"
            );
        }
    }
}
