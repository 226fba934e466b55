//! One child process, timed: wall clock, processor time and peak memory as the kernel counts them,
//! its descendants included. Output goes to a file, so that a full pipe never slows a tool down.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use wait4::Wait4;

use crate::error::{Error, Result, io};

/// What one process used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) wall_s: f64,
    pub(crate) cpu_s: f64,
    pub(crate) peak_bytes: u64,
}

/// Runs the command to its end, its output in `log`, and fails when it does.
#[expect(
    clippy::disallowed_methods,
    reason = "the elapsed time of a process is what this measures"
)]
pub(crate) fn timed(mut command: Command, log: &Path) -> Result<Usage> {
    let name = command.get_program().to_string_lossy().into_owned();
    let out = File::create(log).map_err(io("create", log))?;
    let err = out.try_clone().map_err(io("reopen", log))?;
    command.stdin(Stdio::null()).stdout(out).stderr(err);
    // Pages that an earlier step left dirty are not this step's to write.
    rustix::fs::sync();
    forget_peak()?;
    let start = Instant::now();
    let child = command.spawn().map_err(io("start", Path::new(&name)))?;
    let used = child.wait4().map_err(io("wait for", Path::new(&name)))?;
    let wall_s = start.elapsed().as_secs_f64();
    if !used.status.success() {
        return Err(failure(&command, used.status, log));
    }
    Ok(Usage {
        wall_s,
        cpu_s: (used.rusage.utime + used.rusage.stime).as_secs_f64(),
        peak_bytes: used.rusage.maxrss,
    })
}

/// Runs all commands at the same time, the output of each in its file; gives the seconds until the
/// last one ended. Fails when one of them does.
#[expect(
    clippy::disallowed_methods,
    reason = "the elapsed time of processes is what this measures"
)]
pub(crate) fn timed_at_once(commands: Vec<(Command, PathBuf)>) -> Result<f64> {
    rustix::fs::sync();
    let start = Instant::now();
    let mut running = Vec::new();
    for (mut command, log) in commands {
        let out = File::create(&log).map_err(io("create", &log))?;
        let err = out.try_clone().map_err(io("reopen", &log))?;
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        let name = PathBuf::from(command.get_program());
        let child = command.spawn().map_err(io("start", &name))?;
        running.push((command, log, child));
    }
    let mut failed = None;
    for (command, log, mut child) in running {
        let status = child.wait().map_err(io("wait for", &log))?;
        if !status.success() {
            failed = Some(failure(&command, status, &log));
        }
    }
    let wall_s = start.elapsed().as_secs_f64();
    failed.map_or(Ok(wall_s), Err)
}

/// Sets the kernel's mark of this process's own peak memory back to what it uses now: a child starts
/// out with the mark of its parent.
fn forget_peak() -> Result<()> {
    let path = Path::new("/proc/self/clear_refs");
    fs::write(path, "5").map_err(io("write", path))
}

/// Runs the command without measuring it.
pub(crate) fn untimed(mut command: Command) -> Result<Vec<u8>> {
    let name = command.get_program().to_string_lossy().into_owned();
    let done = command
        .stdin(Stdio::null())
        .output()
        .map_err(io("start", Path::new(&name)))?;
    if done.status.success() {
        return Ok(done.stdout);
    }
    let last = last_line(&done.stderr);
    Err(Error::Command {
        command: shown(&command),
        status: done.status,
        last,
    })
}

/// Runs a command that leaves a server behind, which would keep a pipe open.
pub(crate) fn untimed_quietly(mut command: Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let status = command
        .stderr(Stdio::null())
        .status()
        .map_err(io("start", Path::new(&name)))?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Command {
        command: shown(&command),
        status,
        last: "see its log".to_owned(),
    })
}

fn failure(command: &Command, status: std::process::ExitStatus, log: &Path) -> Error {
    let last = last_line(&fs::read(log).unwrap_or_default());
    Error::Command {
        command: shown(command),
        status,
        last,
    }
}

/// Program and first argument: enough to know which step it was.
fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(
        command
            .get_args()
            .take(1)
            .map(|word| word.to_string_lossy().into_owned()),
    );
    words.join(" ")
}

fn last_line(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    text.lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("no output")
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_the_harness_has_given_back_is_not_counted() {
        let dir = tempfile::tempdir().unwrap();
        let large = vec![1u8; 256 << 20];
        assert_eq!(
            large.iter().map(|byte| u64::from(*byte)).sum::<u64>(),
            256 << 20
        );
        drop(large);
        let used = timed(Command::new("true"), &dir.path().join("log")).unwrap();
        assert!(used.peak_bytes < 128 << 20, "{used:?}");
    }

    #[test]
    fn counts_a_child_and_reports_a_failed_one() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut good = Command::new("sh");
        good.args(["-c", "echo hello"]);
        let used = timed(good, &log).unwrap();
        assert!(used.wall_s > 0.0 && used.peak_bytes > 0);
        assert_eq!(fs::read(&log).unwrap(), b"hello\n");

        let mut bad = Command::new("sh");
        bad.args(["-c", "echo first; echo broken >&2; exit 3"]);
        let error = timed(bad, &log).unwrap_err().to_string();
        assert!(
            error.starts_with("sh -c ended with") && error.ends_with(": broken"),
            "{error}"
        );
    }
}
