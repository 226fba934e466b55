//! Links between documents: every relative link in Markdown leads to a file or directory of the tree.

use super::Finding;
use super::tree::{Tree, parent};

/// Relative links resolve; links to elsewhere are not followed.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.ending(".md") {
        for (line, target) in targets(text) {
            if !resolves(tree, path, &target) {
                let what = format!("link to {target}, which is not there");
                findings.push(Finding::at_line(path, line, what));
            }
        }
    }
    findings
}

/// Link targets outside of code, with their lines.
fn targets(text: &str) -> Vec<(usize, String)> {
    let mut targets = Vec::new();
    let mut fence: Option<&str> = None;
    for (number, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        let mark = ["```", "~~~"]
            .into_iter()
            .find(|mark| trimmed.starts_with(mark));
        match (fence, mark) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), Some(mark)) if open == mark => fence = None,
            (None, None) => {
                let line = without_code(line);
                for target in on_line(&line) {
                    targets.push((number + 1, target.to_owned()));
                }
            }
            _ => {}
        }
    }
    targets
}

fn without_code(line: &str) -> String {
    let outside = line.split('`').step_by(2);
    outside.collect::<Vec<_>>().join(" ")
}

fn on_line(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (open, close) in [("](", ')'), ("src=\"", '"'), ("href=\"", '"')] {
        for (at, _) in line.match_indices(open) {
            let rest = &line[at + open.len()..];
            found.extend(rest.find(close).map(|end| &rest[..end]));
        }
    }
    if line.starts_with('[') {
        found.extend(line.split_once("]: ").map(|(_, target)| target));
    }
    found
        .into_iter()
        .filter_map(|target| target.split_whitespace().next())
        .map(|target| target.trim_matches(['<', '>']))
        .collect()
}

fn resolves(tree: &Tree, from: &str, target: &str) -> bool {
    let elsewhere = target.split_once(':').is_some_and(|(scheme, _)| {
        scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'+')
    });
    let path = target.split(['#', '?']).next().unwrap_or_default();
    if elsewhere || path.is_empty() {
        return true;
    }
    let mut parts: Vec<&str> = if path.starts_with('/') {
        Vec::new()
    } else {
        parent(from)
            .split('/')
            .filter(|part| !part.is_empty())
            .collect()
    };
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if parts.pop().is_none() {
                    return false;
                }
            }
            part => parts.push(part),
        }
    }
    let path = parts.join("/");
    tree.get(&path).is_some() || tree.is_directory(&path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_resolve_from_their_document() {
        for (text, count) in [
            ("[a](other.md)", 0),
            ("[a](other.md#part \"title\")", 0),
            ("[a](../README.md) and [b](../crates/)", 0),
            ("[a](missing.md)", 1),
            ("[a](other.md) [b](missing.md)", 1),
            ("[a](../../README.md)", 1),
            ("[a](#part) [b](https://example.org/x) [c](mailto:a@b)", 0),
            ("![a](chart.svg)", 0),
            ("<img src=\"missing.svg\">", 1),
            ("[a]: missing.md", 1),
            ("`[a](missing.md)`", 0),
            ("```\n[a](missing.md)\n```", 0),
            ("```\n```\n[a](missing.md)", 1),
        ] {
            let tree = Tree::of(&[
                ("docs/it.md", text),
                ("docs/other.md", ""),
                ("docs/chart.svg", ""),
                ("README.md", ""),
                ("crates/a/Cargo.toml", ""),
            ]);
            let found = check(&tree);
            assert_eq!(found.len(), count, "{text}: {found:?}");
        }
    }
}
