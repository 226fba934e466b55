//! What a snapshot leaves out: patterns, and the repository's own directories.
//!
//! A pattern without a leading `/` matches at any depth, one with it the whole path; `./` stands for
//! the current directory. `*` and `?` stop at `/`, `**` does not. A `/` at the end restricts a pattern
//! to directories. `!` takes back what an earlier pattern excludes; the last pattern that matches
//! decides. What is below an excluded directory is never looked at.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::exit::Failure;
use crate::select::recorded;
use crate::show;

/// The form the library takes.
pub(crate) type Excludes = Arc<dyn Fn(&Path, bool) -> bool + Send + Sync>;

/// Compiled patterns.
#[derive(Debug)]
struct Patterns {
    globs: GlobSet,
    rules: Vec<Rule>,
}

/// What a pattern that matches means; in the order of the globs.
#[derive(Debug, Clone, Copy)]
struct Rule {
    exclude: bool,
    directories_only: bool,
}

impl Patterns {
    fn new(patterns: &[String], current_dir: &Path) -> Result<Self, Failure> {
        let mut globs = GlobSetBuilder::new();
        let mut rules = Vec::with_capacity(patterns.len());
        for pattern in patterns {
            let (rule, glob) = parse(pattern, current_dir)?;
            let glob = GlobBuilder::new(&glob)
                .literal_separator(true)
                .backslash_escape(true)
                .build()
                .map_err(|error| unusable(pattern, &error.kind().to_string()))?;
            globs.add(glob);
            rules.push(rule);
        }
        let globs = globs
            .build()
            .map_err(|error| unusable("the patterns", &error.kind().to_string()))?;
        Ok(Self { globs, rules })
    }

    fn excludes(&self, path: &Path, is_dir: bool) -> bool {
        let matching = self.globs.matches(path);
        let rules = matching
            .into_iter()
            .filter_map(|at| Some((at, self.rules.get(at)?)));
        let applicable = rules.filter(|(_, rule)| is_dir || !rule.directories_only);
        let last = applicable.max_by_key(|(at, _)| *at);
        last.is_some_and(|(_, rule)| rule.exclude)
    }
}

fn parse(pattern: &str, current_dir: &Path) -> Result<(Rule, String), Failure> {
    let (exclude, rest) = match pattern.strip_prefix('!') {
        Some(rest) => (false, rest),
        None => (true, pattern),
    };
    let (directories_only, rest) = match rest.strip_suffix('/') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let glob = if rest.is_empty() {
        return Err(unusable(pattern, "it matches nothing"));
    } else if rest.starts_with('/') || rest.starts_with("**/") {
        rest.to_owned()
    } else if let Some(below) = rest.strip_prefix("./") {
        let here = current_dir
            .to_str()
            .ok_or_else(|| unusable(pattern, "the current directory is not UTF-8"))?;
        let here = globset::escape(here);
        format!("{}/{below}", here.trim_end_matches('/'))
    } else {
        format!("**/{rest}")
    };
    let rule = Rule {
        exclude,
        directories_only,
    };
    Ok((rule, glob))
}

fn unusable(pattern: &str, why: &str) -> Failure {
    let pattern = show::path(pattern.as_bytes());
    Failure::usage(format!("cannot exclude by {pattern}: {why}"))
}

/// Reads patterns from a file, one a line; empty lines and those that start with `#` are skipped.
pub(crate) fn read_file(file: &Path) -> Result<Vec<String>, Failure> {
    let unreadable = |error: std::io::Error| {
        let message = format!("cannot read the patterns in {}", show::local_path(file));
        Failure::because(message, &error)
    };
    let mut patterns = Vec::new();
    for line in BufReader::new(File::open(file).map_err(unreadable)?).lines() {
        let line = line.map_err(unreadable)?;
        let line = line.trim_end();
        if !line.is_empty() && !line.starts_with('#') {
            patterns.push(line.to_owned());
        }
    }
    Ok(patterns)
}

/// Joins patterns and the directories of the repository; none when there is nothing to exclude.
///
/// `own` are the repository and its cache: a snapshot of a directory that holds them would otherwise
/// hold all earlier snapshots, and part of itself.
pub(crate) fn build(
    patterns: &[String],
    own: &[PathBuf],
    roots: &[PathBuf],
    current_dir: &Path,
) -> Result<Option<Excludes>, Failure> {
    let mut inside = Vec::new();
    for root in roots {
        // The walk keeps the names it was given, where `own` has no symbolic link.
        let Ok(real) = root.canonicalize() else {
            continue;
        };
        let below = own.iter().filter_map(|own| own.strip_prefix(&real).ok());
        let below = below.filter(|rest| !rest.as_os_str().is_empty());
        inside.extend(below.map(|rest| recorded(root).join(rest)));
    }
    if patterns.is_empty() && inside.is_empty() {
        return Ok(None);
    }
    let patterns = Patterns::new(patterns, current_dir)?;
    Ok(Some(Arc::new(move |path: &Path, is_dir: bool| {
        (is_dir && inside.iter().any(|own| own == path)) || patterns.excludes(path, is_dir)
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excluded(patterns: &[&str], path: &str) -> bool {
        let patterns: Vec<String> = patterns.iter().map(|&p| p.to_owned()).collect();
        let compiled = Patterns::new(&patterns, Path::new("/here/[now]")).expect("patterns");
        compiled.excludes(Path::new(path.trim_end_matches('/')), path.ends_with('/'))
    }

    #[test]
    fn patterns_match_at_any_depth_or_from_the_root() {
        for (pattern, path, expected) in [
            ("*.tmp", "/a/b/c.tmp", true),
            ("*.tmp", "/a/b/c.tmpx", false),
            ("cache", "/a/cache/", true),
            ("cache", "/a/cached", false),
            ("a/b", "/x/a/b", true),
            ("a/b", "/x/a/c/b", false),
            ("a/**/b", "/x/a/c/d/b", true),
            ("/home/*/tmp", "/home/me/tmp", true),
            ("/home/*/tmp", "/home/me/x/tmp", false),
            ("/home/**/tmp", "/home/me/x/tmp", true),
            ("/home", "/mnt/home", false),
            ("./target", "/here/[now]/target", true),
            ("./target", "/here/n/target", false),
            ("target/", "/a/target/", true),
            ("target/", "/a/target", false),
            ("{a,b}.log", "/x/b.log", true),
            ("file\\*", "/x/file*", true),
            ("file\\*", "/x/file1", false),
            ("[0-9]?", "/x/7z", true),
        ] {
            assert_eq!(excluded(&[pattern], path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn the_last_pattern_that_matches_decides() {
        let patterns = ["*.log", "!keep.log", "/x/keep.log"];
        assert!(excluded(&patterns, "/a/b.log"));
        assert!(!excluded(&patterns, "/a/keep.log"));
        assert!(excluded(&patterns, "/x/keep.log"));
    }

    #[test]
    fn mistakes_name_the_pattern() {
        for pattern in ["", "!", "/", "a[", "{a"] {
            let failure = Patterns::new(&[pattern.to_owned()], Path::new("/"));
            let failure = failure.expect_err(pattern);
            assert_eq!(failure.exit, crate::exit::Exit::Usage);
            assert!(failure.message.contains(pattern), "{}", failure.message);
        }
    }

    #[test]
    fn the_repository_is_left_out_of_what_holds_it() {
        let place = tempfile::tempdir().expect("a directory");
        let data = place.path().canonicalize().expect("a path").join("data");
        std::fs::create_dir_all(data.join("backup")).expect("a directory");
        let link = place.path().join("link");
        std::os::unix::fs::symlink(&data, &link).expect("a link");
        let own = [data.join("backup")];
        let build = |root: &Path| build(&[], &own, &[root.to_owned()], Path::new("/"));
        assert!(build(&data.join("backup")).expect("usable").is_none());
        assert!(build(&data.join("missing")).expect("usable").is_none());
        for root in [&data, &link] {
            let excludes = build(root).expect("usable").expect("something to exclude");
            assert!(excludes(&root.join("backup"), true));
            assert!(!excludes(&root.join("backups"), true));
        }
    }

    #[test]
    fn files_of_patterns_have_comments() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("patterns");
        std::fs::write(&file, "# why\n\n*.tmp  \r\n!a b\n").expect("a file");
        assert_eq!(read_file(&file), Ok(vec!["*.tmp".into(), "!a b".into()]));
        assert!(read_file(&directory.path().join("none")).is_err());
    }
}
