//! Figures of a run in a file that Prometheus' textfile collector reads.
//!
//! The file is read, the figures of this run replace those of earlier ones, and it takes its place in
//! one step. Figures of other commands, sources and repositories stay; a run that failed says so and
//! leaves every time of success as it was. Every figure carries the location of its repository, so
//! several may share a file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use repo_core::SnapshotRef;

use crate::args::{Cli, Command};
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::file;
use crate::show::{self, Stopwatch};
use crate::when::now_ms;

/// Longest file that is read before it is written, in bytes.
const FILE_MAX: u64 = 16 << 20;

/// What each figure is: name, type, meaning.
const FAMILIES: &[(&str, &str, &str)] = &[
    (
        "repo_command_last_run_timestamp_seconds",
        "gauge",
        "When the command last ended.",
    ),
    (
        "repo_command_last_success_timestamp_seconds",
        "gauge",
        "When the command last ended with everything done.",
    ),
    (
        "repo_command_exit_code",
        "gauge",
        "Exit code of the last run.",
    ),
    (
        "repo_command_duration_seconds",
        "gauge",
        "Duration of the last run.",
    ),
    ("repo_command_runs_total", "counter", "Runs."),
    (
        "repo_command_failures_total",
        "counter",
        "Runs that did not do everything.",
    ),
    (
        "repo_last_check_timestamp_seconds",
        "gauge",
        "When a check last found no damage.",
    ),
    (
        "repo_last_gc_timestamp_seconds",
        "gauge",
        "When space was last reclaimed.",
    ),
    ("repo_snapshots", "gauge", "Snapshots in the repository."),
    (
        GOOD_TIME,
        "gauge",
        "When the newest snapshot of the source without unread files began.",
    ),
    (
        "repo_source_last_good_duration_seconds",
        "gauge",
        "How long that snapshot took.",
    ),
    (
        "repo_source_last_good_files",
        "gauge",
        "Files in that snapshot.",
    ),
    (
        "repo_source_last_good_bytes",
        "gauge",
        "Sum of their sizes.",
    ),
    (
        "repo_source_last_good_new_bytes",
        "gauge",
        "Bytes in it that were new to the repository.",
    ),
    (
        "repo_source_last_good_stored_bytes",
        "gauge",
        "Bytes written for it.",
    ),
    (
        "repo_source_last_unread_files",
        "gauge",
        "Files that the newest snapshot of the source could not read.",
    ),
    ("repo_source_snapshots", "gauge", "Snapshots of the source."),
];

const GOOD_TIME: &str = "repo_source_last_good_timestamp_seconds";

/// Figures by name and labels, as they stand in the file.
type Samples = BTreeMap<String, String>;

/// A run whose figures are to be kept.
pub(crate) struct Run {
    file: PathBuf,
    command: &'static str,
    clock: Stopwatch,
}

impl Run {
    /// Begins to measure, if a file is named. Dry runs are not counted.
    pub(crate) fn start(cli: &Cli, file: Option<PathBuf>) -> Option<Self> {
        let command = name(&cli.command)?;
        Some(Self {
            file: file?,
            command,
            clock: Stopwatch::start(),
        })
    }

    /// Writes the figures of a run that ended so.
    pub(crate) fn finish(
        self,
        context: Option<&Context>,
        ended: &Result<Exit, Failure>,
    ) -> Result<(), Failure> {
        // Runs that end at the same time wait for each other, or the figures of one would be lost.
        let _alone = lock(&self.file);
        let mut samples = read(&self.file)?;
        let location = context.and_then(Context::shown_location);
        let location = location.unwrap_or_default();
        let exit = match ended {
            Ok(exit) => *exit,
            Err(failure) => failure.exit,
        };
        self.note(&mut samples, &location, exit);
        let opened = context.and_then(Context::opened);
        if let Some(repository) = opened.filter(|_| matches!(exit, Exit::Ok | Exit::Partly)) {
            note_sources(&mut samples, &location, &repository.snapshots());
        }
        file::write(&self.file, text(&samples).as_bytes())
    }

    fn note(&self, samples: &mut Samples, location: &str, exit: Exit) {
        let labels = [("repository", location), ("command", self.command)];
        let now = seconds(now_ms());
        let mut set = |name: &str, value: String| samples.insert(key(name, &labels), value);
        set("repo_command_last_run_timestamp_seconds", now.clone());
        set("repo_command_exit_code", (exit as u8).to_string());
        let elapsed = i64::try_from(self.clock.elapsed_ms()).unwrap_or(i64::MAX);
        set("repo_command_duration_seconds", seconds(elapsed));
        if exit == Exit::Ok {
            set("repo_command_last_success_timestamp_seconds", now.clone());
        }
        let mut count = |name: &str, more: u64| {
            let known = samples.entry(key(name, &labels)).or_default();
            let before: u64 = known.parse().unwrap_or(0);
            *known = (before + more).to_string();
        };
        count("repo_command_runs_total", 1);
        count("repo_command_failures_total", u64::from(exit != Exit::Ok));
        let last = match self.command {
            "check" => "repo_last_check_timestamp_seconds",
            "gc" => "repo_last_gc_timestamp_seconds",
            _ => return,
        };
        if exit == Exit::Ok {
            samples.insert(key(last, &[("repository", location)]), now);
        }
    }
}

/// What a command is called in the figures; nothing when it only says what it would do.
fn name(command: &Command) -> Option<&'static str> {
    Some(match command {
        Command::Init(_) => "init",
        Command::Snapshot(args) if args.is_dry() => return None,
        Command::Snapshot(_) => "snapshot",
        Command::Snapshots(_) => "snapshots",
        Command::Ls(_) => "ls",
        Command::Cat(_) => "cat",
        Command::Dump(_) => "dump",
        Command::Find(_) => "find",
        Command::Restore(args) if args.is_dry() => return None,
        Command::Restore(_) => "restore",
        Command::Diff(_) => "diff",
        Command::Forget(args) if args.is_dry() => return None,
        Command::Forget(_) => "forget",
        Command::Copy(args) if args.is_dry() => return None,
        Command::Copy(_) => "copy",
        Command::Gc(args) if args.is_dry() => return None,
        Command::Gc(_) => "gc",
        Command::Undo(_) => "undo",
        Command::Check(_) => "check",
        Command::Repair(args) if args.is_dry() => return None,
        Command::Repair(_) => "repair",
        Command::Parity(args) if args.is_dry() => return None,
        Command::Parity(_) => "parity",
        Command::Mount(_) => "mount",
        Command::Key(_) => "key",
        Command::Tag(args) if args.is_dry() => return None,
        Command::Tag(_) => "tag",
        Command::Stats(_) => "stats",
        Command::Table(args) if args.is_dry() => return None,
        Command::Table(args) => args.name(),
        Command::Pg(args) => args.name(),
        Command::Tui(_) => "tui",
        Command::Log(_) => "log",
        Command::Completions(_) => "completions",
    })
}

/// Replaces what is known of the sources of a repository.
fn note_sources(samples: &mut Samples, location: &str, snapshots: &[SnapshotRef]) {
    let repository = format!("repository=\"{}\"", escaped(location));
    samples.retain(|key, _| !(key.starts_with("repo_source_") && key.contains(&repository)));
    let whole = key("repo_snapshots", &[("repository", location)]);
    samples.insert(whole, snapshots.len().to_string());

    let mut sources: BTreeMap<(String, String), Vec<&SnapshotRef>> = BTreeMap::new();
    for known in snapshots {
        let paths = known.snapshot.paths.iter().map(|path| show::path(&path.0));
        let paths: Vec<String> = paths.collect();
        let source = (known.snapshot.host.clone(), paths.join(","));
        sources.entry(source).or_default().push(known);
    }
    for ((host, paths), mut known) in sources {
        known.sort_by_key(|known| known.snapshot.time_ms);
        let labels = [("repository", location), ("host", &host), ("paths", &paths)];
        let mut set = |name: &str, value: String| samples.insert(key(name, &labels), value);
        set("repo_source_snapshots", known.len().to_string());
        if let Some(newest) = known.last() {
            let unread = newest.snapshot.stats.unread;
            set("repo_source_last_unread_files", unread.to_string());
        }
        let good = |known: &&&SnapshotRef| known.snapshot.stats.unread == 0;
        let Some(good) = known.iter().rev().find(good) else {
            continue;
        };
        let snapshot = &good.snapshot;
        let duration = i64::try_from(snapshot.duration_ms).unwrap_or(i64::MAX);
        set(GOOD_TIME, seconds(snapshot.time_ms));
        set("repo_source_last_good_duration_seconds", seconds(duration));
        for (name, value) in [
            ("repo_source_last_good_files", snapshot.stats.files),
            ("repo_source_last_good_bytes", snapshot.stats.bytes),
            ("repo_source_last_good_new_bytes", snapshot.stats.bytes_new),
            (
                "repo_source_last_good_stored_bytes",
                snapshot.stats.bytes_stored,
            ),
        ] {
            set(name, value.to_string());
        }
    }
}

/// Milliseconds as seconds.
fn seconds(ms: i64) -> String {
    let (whole, rest) = (ms.div_euclid(1000), ms.rem_euclid(1000));
    if whole < 0 {
        // Before 1970 nothing is backed up; whole seconds will do.
        return whole.to_string();
    }
    format!("{whole}.{rest:03}")
}

/// Name and labels as the format writes them.
fn key(name: &str, labels: &[(&str, &str)]) -> String {
    let mut text = format!("{name}{{");
    for (at, (label, value)) in labels.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        // Writing to a string cannot fail.
        let _infallible = write!(text, "{comma}{label}=\"{}\"", escaped(value));
    }
    text.push('}');
    text
}

fn escaped(value: &str) -> String {
    let slashes = value.replace('\\', "\\\\");
    slashes.replace('"', "\\\"").replace('\n', "\\n")
}

/// Keeps other runs from writing while the result lives. What is locked is the directory, because the
/// file is replaced. Where directories cannot be locked, as on some network file systems, runs that end
/// at the same time may lose figures of one another.
fn lock(path: &Path) -> Option<File> {
    let directory = File::open(file::directory(path)).ok()?;
    directory.lock().ok()?;
    Some(directory)
}

/// The figures of earlier runs. A file that is not there holds none.
fn read(path: &Path) -> Result<Samples, Failure> {
    let shown = show::local_path(path);
    let failed = |error| Failure::because(format!("cannot read {shown}"), &error);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Samples::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut text = String::new();
    let read = file.take(FILE_MAX + 1).read_to_string(&mut text);
    read.map_err(failed)?;
    if text.len() as u64 > FILE_MAX {
        return Err(Failure::failed(format!("{shown} is too long for figures")));
    }
    let foreign = || {
        Failure::failed(format!("{shown} holds other things than figures of repo"))
            .hint("name a file of its own in --metrics-file")
    };
    let mut samples = Samples::new();
    for line in text.lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.rsplit_once(' ').ok_or_else(foreign)?;
        let name = key.split('{').next().unwrap_or(key);
        if value.parse::<f64>().is_err() || !key.ends_with('}') || !name.starts_with("repo_") {
            return Err(foreign());
        }
        samples.insert(key.to_owned(), value.to_owned());
    }
    Ok(samples)
}

/// The file, each family with its type and meaning. Figures of families that are no more are left out.
fn text(samples: &Samples) -> String {
    let mut text = String::new();
    for (name, kind, help) in FAMILIES {
        let prefix = format!("{name}{{");
        let mut lines = samples
            .iter()
            .filter(|(key, _)| key.starts_with(&prefix))
            .peekable();
        if lines.peek().is_none() {
            continue;
        }
        // Writing to a string cannot fail.
        let _infallible = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (key, value) in lines {
            let _infallible = writeln!(text, "{key} {value}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let labels = [("repository", "a\\b\"c\nd"), ("command", "check")];
        let samples = Samples::from([(key("repo_command_runs_total", &labels), "7".to_owned())]);
        let written = text(&samples);
        assert_eq!(
            written.lines().last(),
            Some("repo_command_runs_total{repository=\"a\\\\b\\\"c\\nd\",command=\"check\"} 7")
        );
        let place = tempfile::tempdir().expect("a directory");
        let file = place.path().join("metrics.prom");
        assert_eq!(read(&file).expect("nothing there"), Samples::new());
        std::fs::write(&file, written).expect("a file");
        assert_eq!(read(&file).expect("figures"), samples);
    }

    #[test]
    fn other_files_are_left_alone() {
        let place = tempfile::tempdir().expect("a directory");
        let file = place.path().join("other");
        for other in ["hello", "node_load1 0.3", "repo_x{a=\"b\"} many"] {
            std::fs::write(&file, other).expect("a file");
            assert!(read(&file).is_err(), "{other}");
        }
    }

    #[test]
    fn every_family_is_told_once() {
        let mut names: Vec<_> = FAMILIES.iter().map(|family| family.0).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FAMILIES.len());
    }

    #[test]
    fn seconds_have_milliseconds() {
        assert_eq!(seconds(1_500), "1.500");
        assert_eq!(seconds(7), "0.007");
        assert_eq!(seconds(-1), "-1");
    }
}
