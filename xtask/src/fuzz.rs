//! Coverage-guided fuzzing on the stable toolchain, without further tools.
//!
//! The targets are the binaries of the separate workspace `fuzz/`, laid out as cargo-fuzz expects. They are
//! built with the compiler's own coverage pass and linked to libFuzzer, which needs a C++ compiler and no
//! nightly. There is no address sanitizer: the crates forbid `unsafe`, so what is hunted are panics,
//! overflows, hangs and memory use.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::process::{Invocation, target_dir};
use crate::report::say;
use toml::{Table, Value};

const SECONDS: u64 = 60;

/// One input may use this much memory and time before it counts as a finding.
const MEMORY_MAX_MB: u32 = 1024;
const INPUT_SECONDS_MAX: u32 = 10;

/// The flags of cargo-fuzz for coverage, with comparisons traced so that magic numbers are found.
const FLAGS: &[&str] = &[
    "--cfg fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
];

/// What to fuzz, and for how long each.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    target: Option<String>,
    seconds: u64,
}

impl Request {
    pub(crate) fn parse(arguments: &[&str]) -> Result<Self, String> {
        let mut request = Self {
            target: None,
            seconds: SECONDS,
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match *argument {
                "--seconds" => {
                    let value = rest.next().ok_or("--seconds needs a number")?;
                    request.seconds = value
                        .parse()
                        .ok()
                        .filter(|seconds| *seconds > 0)
                        .ok_or_else(|| format!("not a number of seconds: {value}"))?;
                }
                name if !name.starts_with('-') && request.target.is_none() => {
                    request.target = Some(name.to_owned());
                }
                other => return Err(format!("fuzz does not take {other}")),
            }
        }
        Ok(request)
    }
}

/// Builds the targets and runs each for its time; one finding fails the command after all have run.
pub(crate) fn run(root: &Path, request: &Request) -> Result<(), String> {
    let manifest = std::fs::read_to_string(root.join("fuzz/Cargo.toml"))
        .map_err(|error| format!("fuzz/Cargo.toml: {error}"))?;
    let all = targets(&manifest)?;
    let chosen = match &request.target {
        None => all,
        Some(name) if all.contains(name) => vec![name.clone()],
        Some(name) => return Err(format!("no target {name}; there are: {}", all.join(", "))),
    };
    let programs = build(root)?;
    let mut failed = Vec::new();
    for target in chosen {
        match fuzz(root, &programs, &target, request.seconds) {
            Ok(summary) => say(&summary),
            Err(why) => {
                say(&why);
                failed.push(target);
            }
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("fuzz: findings in {}", failed.join(", ")))
    }
}

/// The names of the binaries in the manifest.
fn targets(manifest: &str) -> Result<Vec<String>, String> {
    let table: Table = manifest
        .parse()
        .map_err(|error| format!("fuzz/Cargo.toml: {error}"))?;
    let names: Vec<String> = table
        .get("bin")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|bin| bin.get("name")?.as_str())
        .map(str::to_owned)
        .collect();
    if names.is_empty() {
        return Err("fuzz/Cargo.toml has no target".to_owned());
    }
    Ok(names)
}

/// Builds every target and returns the directory they are in.
fn build(root: &Path) -> Result<PathBuf, String> {
    let version = Invocation::new("rustc -vV").output(root)?;
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .ok_or("rustc -vV names no host")?;
    let directory = target_dir(root).join("fuzz");
    // Naming the target keeps the coverage flags away from build scripts and macros.
    Invocation::new("cargo build --release --bins --manifest-path fuzz/Cargo.toml --target")
        .arg(host)
        .env("CARGO_TARGET_DIR", &directory.display().to_string())
        .env("RUSTFLAGS", &FLAGS.join(" "))
        .run(root)?;
    Ok(directory.join(host).join("release"))
}

fn fuzz(root: &Path, programs: &Path, target: &str, seconds: u64) -> Result<String, String> {
    let of_target = |kind: &str| root.join("fuzz").join(kind).join(target);
    let (corpus, artifacts) = (of_target("corpus"), of_target("artifacts"));
    for directory in [&corpus, &artifacts] {
        std::fs::create_dir_all(directory)
            .map_err(|error| format!("{}: {error}", directory.display()))?;
    }
    let log = programs.join(format!("{target}.log"));
    let file =
        std::fs::File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;

    let mut command = Command::new(programs.join(target));
    command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(format!("-rss_limit_mb={MEMORY_MAX_MB}"))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg("-print_final_stats=1")
        .arg(&corpus);
    // Committed seeds are read only: what libFuzzer finds goes to the first directory.
    let seeds = of_target("seeds");
    if seeds.is_dir() {
        command.arg(seeds);
    }
    let status = command
        .current_dir(root)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(file)
        .status()
        .map_err(|error| format!("{target}: {error}"))?;
    let told = std::fs::read(&log).map_err(|error| format!("{}: {error}", log.display()))?;
    let told = String::from_utf8_lossy(&told);
    if status.success() {
        let executions = executions(&told).ok_or_else(|| {
            format!(
                "fuzz {target}: libFuzzer gave no statistics, see {}",
                log.display()
            )
        })?;
        Ok(format!(
            "fuzz {target}: {executions} executions in {seconds} s, coverage {}, no finding",
            coverage(&told).unwrap_or("?")
        ))
    } else {
        let artifact = artifact(&told).unwrap_or("(none written)");
        Err(format!(
            "{}\nfuzz {target}: FOUND {artifact}\nrepeat with: {} {artifact}\nwhole log: {}",
            tail(&told),
            programs.join(target).display(),
            log.display()
        ))
    }
}

fn executions(log: &str) -> Option<u64> {
    let value = log
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))?;
    value.trim().parse().ok()
}

/// The last coverage that libFuzzer told, in edges.
fn coverage(log: &str) -> Option<&str> {
    let (_, rest) = log.rsplit_once(" cov: ")?;
    rest.split_whitespace().next()
}

fn artifact(log: &str) -> Option<&str> {
    let (_, rest) = log.rsplit_once("Test unit written to ")?;
    rest.lines().next()
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read() {
        let request = |target: Option<&str>, seconds| Request {
            target: target.map(str::to_owned),
            seconds,
        };
        assert_eq!(Request::parse(&[]), Ok(request(None, 60)));
        assert_eq!(
            Request::parse(&["a", "--seconds", "5"]),
            Ok(request(Some("a"), 5))
        );
        for wrong in [
            &["--seconds"][..],
            &["--seconds", "x"],
            &["--seconds", "0"],
            &["a", "b"],
            &["-x"],
        ] {
            assert!(Request::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn targets_are_the_binaries_of_the_manifest() {
        let manifest = "[[bin]]\nname = \"a\"\n[[bin]]\nname = \"b\"";
        assert_eq!(targets(manifest), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert!(targets("[package]\nname = \"f\"").is_err());
    }

    #[test]
    fn what_libfuzzer_tells_is_read() {
        let log = "#2 INITED cov: 3 ft: 4\n#9 NEW cov: 11 ft: 4\nTest unit written to /a/crash-b\nstat::number_of_executed_units: 1234\n";
        assert_eq!(executions(log), Some(1234));
        assert_eq!(coverage(log), Some("11"));
        assert_eq!(artifact(log), Some("/a/crash-b"));
        assert_eq!(
            (executions(""), coverage(""), artifact("")),
            (None, None, None)
        );
    }

    /// A stand-in for a built target: it tells what libFuzzer would and exits with a code.
    fn outcome(script: &str) -> Result<String, String> {
        use std::os::unix::fs::PermissionsExt as _;

        let place = tempfile::tempdir().expect("a temporary directory");
        let program = place.path().join("it");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("a program");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))
            .expect("an executable");
        fuzz(place.path(), place.path(), "it", 1)
    }

    #[test]
    fn a_crash_is_a_failure_with_its_artifact() {
        let stats = "echo stat::number_of_executed_units: 7 >&2";
        let summary = outcome(stats).expect("no finding");
        assert!(summary.contains("7 executions"), "{summary}");
        let crash = outcome("echo artifact: Test unit written to /x/crash-1 >&2; exit 77");
        let message = crash.expect_err("a finding");
        assert!(message.contains("FOUND /x/crash-1"), "{message}");
        assert!(
            outcome("true").is_err(),
            "a target that runs nothing is no success"
        );
    }
}
