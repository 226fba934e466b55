//! `repo find`: in which snapshots each version of a file is.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use clap::{Args, ValueEnum};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use repo_core::{Entry, EntryType, FindOptions, Found, FoundSource};

use crate::args::byte_size;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::message::{FindSummary, FoundMessage};
use crate::output::Output;
use crate::select::{self, Filter};
use crate::show;
use crate::when;

/// Fewest characters of the id of a content.
const CONTENT_MIN: usize = 8;

/// Arguments of `find`.
#[derive(Debug, Args)]
#[command(after_help = "\
A version is what a path was between two changes. `*` and `?` stop at `/`, `**` does not.
    repo find '*.conf' --size +1M
    repo find 'etc/**/*.conf' --newer 7d")]
pub(crate) struct FindArgs {
    /// Find names like this, or whole paths when it has a `/`; everything by default.
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,
    /// Take small and capital letters as the same.
    #[arg(short, long)]
    ignore_case: bool,
    /// Find files of this size: 4096, +10M (at least), -1k (at most), or 1k..2M. May be repeated.
    #[arg(long, value_name = "SIZE", value_parser = size, allow_hyphen_values = true)]
    size: Vec<Sizes>,
    /// Find what was modified since TIME, or within a duration such as 7d.
    #[arg(long, value_name = "TIME", value_parser = when::past)]
    newer: Option<i64>,
    /// Find what was modified before TIME, or longer ago than a duration such as 7d.
    #[arg(long, value_name = "TIME", value_parser = when::past)]
    older: Option<i64>,
    /// Find entries of this type. May be repeated.
    #[arg(short = 't', long = "type", value_enum, value_name = "TYPE")]
    types: Vec<Type>,
    /// Find the files that have this content, or a chunk of this id; at least 8 characters of it.
    #[arg(long, value_name = "ID", value_parser = content)]
    content: Option<String>,
    /// Search this snapshot only, an id or `latest`. May be repeated.
    #[arg(long = "snapshot", value_name = "SNAPSHOT")]
    snapshots: Vec<String>,
    #[command(flatten)]
    filter: Filter,
    /// Search the snapshots of the state after commit N, see `repo log`.
    #[arg(long, value_name = "N")]
    at: Option<u64>,
}

/// Types of entries, by name or the letter that find(1) has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Type {
    #[value(alias = "f")]
    File,
    #[value(alias = "d")]
    Directory,
    #[value(alias = "l")]
    Symlink,
    #[value(alias = "p")]
    Fifo,
    /// Character and block devices.
    Device,
}

impl Type {
    fn is(self, kind: EntryType) -> bool {
        match kind {
            EntryType::File => self == Self::File,
            EntryType::Directory => self == Self::Directory,
            EntryType::Symlink => self == Self::Symlink,
            EntryType::Fifo => self == Self::Fifo,
            EntryType::CharDevice | EntryType::BlockDevice => self == Self::Device,
        }
    }
}

/// Sizes from the first to the second, both included.
type Sizes = (u64, u64);

fn size(text: &str) -> Result<Sizes, String> {
    if let Some(least) = text.strip_prefix('+') {
        return Ok((byte_size(least)?, u64::MAX));
    }
    if let Some(most) = text.strip_prefix('-') {
        return Ok((0, byte_size(most)?));
    }
    match text.split_once("..") {
        Some((least, most)) => {
            let sizes = (byte_size(least)?, byte_size(most)?);
            if sizes.0 > sizes.1 {
                return Err("the range is empty".to_owned());
            }
            Ok(sizes)
        }
        None => byte_size(text).map(|size| (size, size)),
    }
}

fn content(text: &str) -> Result<String, String> {
    let text = text.to_ascii_lowercase();
    if text.len() < CONTENT_MIN || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(format!(
            "expected at least {CONTENT_MIN} hexadecimal digits"
        ));
    }
    Ok(text)
}

/// What entries are found.
struct Wanted {
    names: GlobSet,
    paths: GlobSet,
    /// Without a pattern everything matches.
    any: bool,
    sizes: Vec<Sizes>,
    types: Vec<Type>,
    newer: Option<i64>,
    older: Option<i64>,
}

impl Wanted {
    fn new(args: &FindArgs) -> Result<Self, Failure> {
        let (mut names, mut paths) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        for pattern in &args.patterns {
            let unusable = |error: globset::Error| {
                let pattern = show::path(pattern.as_bytes());
                Failure::usage(format!("pattern {pattern}: {}", error.kind()))
            };
            // Paths in a snapshot are relative to its root.
            let glob = GlobBuilder::new(pattern.trim_start_matches('/'))
                .literal_separator(true)
                .backslash_escape(true)
                .case_insensitive(args.ignore_case)
                .build()
                .map_err(unusable)?;
            if pattern.contains('/') {
                paths.add(glob);
            } else {
                names.add(glob);
            }
        }
        let build = |set: &GlobSetBuilder| {
            set.build()
                .map_err(|error| Failure::usage(format!("the patterns: {}", error.kind())))
        };
        Ok(Self {
            names: build(&names)?,
            paths: build(&paths)?,
            any: args.patterns.is_empty(),
            sizes: args.size.clone(),
            types: args.types.clone(),
            newer: args.newer,
            older: args.older,
        })
    }

    fn matches(&self, path: &[u8], entry: &Entry) -> bool {
        let types = || self.types.is_empty() || self.types.iter().any(|t| t.is(entry.kind));
        let in_range = |(least, most): &Sizes| (*least..=*most).contains(&entry.size);
        let sizes = || entry.kind == EntryType::File && self.sizes.iter().all(in_range);
        let ms =
            entry.mtime.seconds.saturating_mul(1000) + i64::from(entry.mtime.nanos / 1_000_000);
        self.newer.is_none_or(|newer| ms >= newer)
            && self.older.is_none_or(|older| ms < older)
            && types()
            && (self.sizes.is_empty() || sizes())
            && (self.any || self.is_named(path, &entry.name))
    }

    fn is_named(&self, path: &[u8], name: &[u8]) -> bool {
        use std::os::unix::ffi::OsStrExt as _;
        let os = |bytes| Path::new(std::ffi::OsStr::from_bytes(bytes));
        self.names.is_match(os(name)) || self.paths.is_match(os(path))
    }
}

pub(crate) async fn run(context: &Context, args: FindArgs) -> Result<Exit, Failure> {
    let wanted = Wanted::new(&args)?;
    let repository = context.open_at(args.at).await?;
    let known = repository.snapshots();
    let snapshots: Vec<_> = select::choose(&known, &args.snapshots, &args.filter)?
        .into_iter()
        .map(|known| known.snapshot.id())
        .collect();
    let searched = snapshots.len() as u64;
    let options = FindOptions {
        snapshots,
        matches: Box::new(move |path, entry| wanted.matches(path, entry)),
        content: args.content,
    };
    let told = Arc::new(Mutex::new(Told {
        output: context.output.clone(),
        source: None,
        paths: 0,
        versions: 0,
        failed: None,
    }));
    let teller = Arc::clone(&told);
    let visit = Box::new(move |source: &FoundSource, found: Found| {
        let told = &mut *teller.lock().unwrap_or_else(PoisonError::into_inner);
        match told.tell(source, &found) {
            Ok(()) => ControlFlow::Continue(()),
            Err(failure) => {
                told.failed = Some(failure);
                ControlFlow::Break(())
            }
        }
    });
    repository.find(options, visit).await?;
    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(failure) = told.failed.take() {
        return Err(failure);
    }
    context.output.show(&FindSummary {
        paths: told.paths,
        versions: told.versions,
        snapshots: searched,
    })?;
    Ok(Exit::Ok)
}

/// What was told so far.
struct Told {
    output: Output,
    source: Option<FoundSource>,
    paths: u64,
    versions: u64,
    failed: Option<Failure>,
}

impl Told {
    fn tell(&mut self, source: &FoundSource, found: &Found) -> Result<(), Failure> {
        self.paths += 1;
        self.versions += found.versions.len() as u64;
        let output = &self.output;
        if output.is_json() {
            for version in &found.versions {
                output.message(&FoundMessage::new(source, &found.path, version))?;
            }
            return Ok(());
        }
        if self.source.as_ref() != Some(source) {
            let paths: Vec<String> = source.paths.iter().map(|p| show::path(&p.0)).collect();
            let (host, paths) = (show::path(source.host.as_bytes()), paths.join(", "));
            output.line(format!("{host}: {paths}"))?;
            self.source = Some(source.clone());
        }
        output.line(format!("  {}", show::path(&found.path)))?;
        for version in &found.versions {
            let size = match version.kind {
                EntryType::File => show::bytes(version.size),
                _ => "-".to_owned(),
            };
            let id = match &version.content {
                Some(id) => id.to_hex()[..CONTENT_MIN].to_owned(),
                None => "-".repeat(CONTENT_MIN),
            };
            output.line(format!(
                "    {}  {size:>10}  {}  {id}  in {}",
                show::mode(version.kind, version.mode),
                show::local_time(version.mtime.seconds.saturating_mul(1000)),
                places(source, version),
            ))?;
        }
        Ok(())
    }
}

/// The snapshots a version is in: single ones, and the first and last of several.
fn places(source: &FoundSource, version: &repo_core::FoundVersion) -> String {
    let short = |at: &usize| {
        source
            .snapshots
            .get(*at)
            .map_or_else(String::new, show::short)
    };
    let run = |run: &std::ops::RangeInclusive<usize>| {
        let (first, last) = (run.start(), run.end());
        match last - first {
            0 => short(first),
            1 => format!("{} {}", short(first), short(last)),
            more => format!("{}..{} ({} snapshots)", short(first), short(last), more + 1),
        }
    };
    let runs: Vec<String> = version.snapshots.iter().map(run).collect();
    runs.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bounds_or_ranges() {
        for (text, expected) in [
            ("4096", Some((4096, 4096))),
            ("+10M", Some((10 << 20, u64::MAX))),
            ("-1k", Some((0, 1024))),
            ("1k..2M", Some((1024, 2 << 20))),
            ("2M..1k", None),
            ("", None),
            ("+", None),
        ] {
            assert_eq!(size(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn ids_of_content_are_long_enough() {
        assert_eq!(content("ABCDEF01"), Ok("abcdef01".to_owned()));
        assert!(content("abcdef0").is_err() && content("abcdefgh").is_err());
    }
}
