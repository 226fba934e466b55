//! `postmaster.pid`: which server runs on a data directory.

use std::path::{Path, PathBuf};

use rustix::process::{Pid, test_kill_process};

use crate::error::{Error, Result};
use crate::limits::SMALL_FILE_MAX;

/// The file in the data directory.
const FILE: &str = "postmaster.pid";

/// What a running server says about itself in its data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Postmaster {
    /// Its process, of which a negative one is a single-user backend.
    pub(crate) pid: u32,
    pub(crate) port: u16,
    /// Directory of its Unix socket.
    pub(crate) socket_directory: Option<PathBuf>,
}

impl Postmaster {
    /// Reads the file of the data directory.
    pub(crate) fn read(pgdata: &Path) -> Result<Self> {
        let path = pgdata.join(FILE);
        let text = read_small(&path).map_err(|source| Error::NotRunning {
            pgdata: pgdata.to_owned(),
            source,
        })?;
        Self::parse(&text).ok_or_else(|| Error::NotRunning {
            pgdata: pgdata.to_owned(),
            source: std::io::Error::other(format!("{} is cut short", path.display())),
        })
    }

    /// Lines: process, data directory, start time, port, socket directory, address, key, state.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let pid: i64 = lines.next()?.trim().parse().ok()?;
        let port = lines.nth(2)?.trim().parse().ok()?;
        let socket = lines.next().map(str::trim).filter(|line| !line.is_empty());
        Some(Self {
            pid: u32::try_from(pid.unsigned_abs()).ok()?,
            port,
            socket_directory: socket.map(PathBuf::from),
        })
    }
}

/// Fails when a living process holds the data directory. A file that a crashed server left behind,
/// or that cannot be understood, is not one.
pub(crate) fn refuse_running(pgdata: &Path) -> Result<()> {
    let path = pgdata.join(FILE);
    let text = match read_small(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("read", path, error)),
    };
    let first = text.lines().next().unwrap_or_default().trim();
    let Some(pid) = first.parse::<i64>().ok().map(i64::unsigned_abs) else {
        return Ok(());
    };
    let Some(pid) = u32::try_from(pid).ok() else {
        return Ok(());
    };
    match i32::try_from(pid).ok().and_then(Pid::from_raw) {
        Some(process) if lives(process) => Err(Error::Running {
            pgdata: pgdata.to_owned(),
            pid,
        }),
        _ => Ok(()),
    }
}

/// Whether the server of the data directory says that it accepts sessions, of readers at least.
pub(crate) fn is_ready(pgdata: &Path) -> bool {
    let text = read_small(&pgdata.join(FILE)).unwrap_or_default();
    let state = text.lines().nth(7).map(str::trim);
    matches!(state, Some("ready" | "standby"))
}

/// Whether there is such a process. One that belongs to another user refuses the question and lives.
fn lives(process: Pid) -> bool {
    !matches!(test_kill_process(process), Err(rustix::io::Errno::SRCH))
}

fn read_small(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(SMALL_FILE_MAX).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "4711\n/data\n1700000000\n5433\n/run/postgresql\nlocalhost\n 123 4\nready   \n";

    #[test]
    fn the_lines_of_a_server_are_read() {
        let read = Postmaster::parse(TEXT).expect("a server");
        assert_eq!((read.pid, read.port), (4711, 5433));
        assert_eq!(
            read.socket_directory,
            Some(PathBuf::from("/run/postgresql"))
        );
        let no_socket = TEXT.replace("/run/postgresql", "");
        assert_eq!(
            Postmaster::parse(&no_socket)
                .expect("a server")
                .socket_directory,
            None
        );
        for bad in ["", "x\n", "1\n/data\n", "1\n/data\n2\nport\n"] {
            assert_eq!(Postmaster::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_a_living_process_holds_a_directory() {
        let place = tempfile::tempdir().expect("a directory");
        let file = place.path().join(FILE);
        refuse_running(place.path()).expect("no file");
        std::fs::write(&file, format!("{}\n", std::process::id())).expect("written");
        assert!(matches!(
            refuse_running(place.path()),
            Err(Error::Running { .. })
        ));
        std::fs::write(&file, "2147483646\n").expect("written");
        refuse_running(place.path()).expect("no such process");
        std::fs::write(&file, "").expect("written");
        refuse_running(place.path()).expect("nothing said");
    }

    #[test]
    fn a_server_is_ready_when_it_says_so() {
        let place = tempfile::tempdir().expect("a directory");
        assert!(!is_ready(place.path()));
        for (state, ready) in [("ready   ", true), ("standby ", true), ("starting", false)] {
            let text = TEXT.replace("ready   ", state);
            std::fs::write(place.path().join(FILE), text).expect("written");
            assert_eq!(is_ready(place.path()), ready, "{state}");
        }
    }
}
