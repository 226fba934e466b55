//! Passwords: where each may come from, and asking for one on the terminal.
//!
//! A password is never an argument, because other users can read those. The first of these that is
//! given counts: `--password-file` or `--password-command`, REPO_PASSWORD, REPO_PASSWORD_FILE,
//! REPO_PASSWORD_COMMAND, the profile. Otherwise a person at a terminal is asked.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::termios::{self, LocalModes, OptionalActions, Termios};

use crate::args::Globals;
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::profile::Profile;
use crate::show;

/// Longest password, in bytes.
const PASSWORD_MAX: u64 = 64 << 10;

/// A place that holds a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// The password itself, from the environment.
    Value(OsString),
    /// The first line of a file.
    File(PathBuf),
    /// The first line that a shell command prints.
    Command(OsString),
}

impl Source {
    /// Where the password of the repository comes from, if anything says so.
    pub(crate) fn find(
        globals: &Globals,
        environment: &Environment,
        profile: &Profile,
    ) -> Option<Self> {
        let flags = (
            globals.password_file.clone(),
            globals.password_command.clone(),
        );
        let settings = || {
            Self::of_pair(
                profile.password_file.clone(),
                profile.password_command.clone().map(OsString::from),
            )
        };
        Self::of_variables(environment, "REPO_PASSWORD", flags).or_else(settings)
    }

    /// What flags say, or else the variable `name`, or else `name` with `_FILE` and `_COMMAND`.
    pub(crate) fn of_variables(
        environment: &Environment,
        name: &str,
        flags: (Option<PathBuf>, Option<OsString>),
    ) -> Option<Self> {
        let variable = || environment.get(name).map(|v| Self::Value(v.into()));
        let variables = || {
            Self::of_pair(
                environment.path(&format!("{name}_FILE")),
                environment
                    .get(&format!("{name}_COMMAND"))
                    .map(OsString::from),
            )
        };
        Self::of_pair(flags.0, flags.1)
            .or_else(variable)
            .or_else(variables)
    }

    fn of_pair(file: Option<PathBuf>, command: Option<OsString>) -> Option<Self> {
        file.map(Self::File).or_else(|| command.map(Self::Command))
    }

    /// Reads the password.
    pub(crate) fn read(&self) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Value(value) => Ok(value.as_bytes().to_vec()),
            Self::File(path) => read_file(path),
            Self::Command(command) => run(command),
        }
    }
}

/// Reads a password from the first line of a file.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    let shown = show::local_path(path);
    let unreadable = |error: io::Error| {
        Failure::because(format!("cannot read the password file {shown}"), &error)
    };
    let file = File::open(path).map_err(unreadable)?;
    first_line(file)
        .map_err(unreadable)?
        .ok_or_else(|| Failure::failed(format!("the password file {shown} is empty")))
}

fn run(command: &OsStr) -> Result<Vec<u8>, Failure> {
    let failed = |error: io::Error| Failure::because("the password command cannot run", &error);
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(command)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    // All of it, because who is cut off while printing fails.
    let mut printed = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout
            .take(PASSWORD_MAX)
            .read_to_end(&mut printed)
            .map_err(failed)?;
    }
    let status = child.wait().map_err(failed)?;
    if !status.success() {
        return Err(Failure::failed(format!(
            "the password command failed: {status}"
        )));
    }
    first_line(&*printed)
        .map_err(failed)?
        .ok_or_else(|| Failure::failed("the password command printed nothing"))
}

/// The first line without its end; none when it is empty.
fn first_line(source: impl io::Read) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    BufReader::new(source.take(PASSWORD_MAX)).read_until(b'\n', &mut line)?;
    while line
        .last()
        .is_some_and(|byte| matches!(byte, b'\n' | b'\r'))
    {
        line.pop();
    }
    Ok((!line.is_empty()).then_some(line))
}

/// Asks on the terminal, or fails with `missing` where there is none.
pub(crate) async fn ask(prompt: &str, missing: &str) -> Result<Vec<u8>, Failure> {
    let no_password = || {
        Failure::new(Exit::WrongPassword, missing)
            .hint("set REPO_PASSWORD, REPO_PASSWORD_FILE or REPO_PASSWORD_COMMAND")
    };
    // Who redirects both is not there to answer, even if the process has a terminal.
    if !termios::isatty(io::stdin()) && !termios::isatty(io::stderr()) {
        return Err(no_password());
    }
    let terminal = File::options().read(true).write(true).open("/dev/tty");
    let terminal = terminal.map_err(|_| no_password())?;
    let answer = answer(prompt, terminal)
        .await
        .map_err(|error| Failure::because("cannot read from the terminal", &error))?;
    answer.ok_or_else(|| Failure::new(Exit::WrongPassword, "no password was typed"))
}

/// Asks twice for a password to be set.
pub(crate) async fn ask_twice(prompt: &str, missing: &str) -> Result<Vec<u8>, Failure> {
    let first = ask(prompt, missing).await?;
    let second = ask("the same again", missing).await?;
    if first == second {
        Ok(first)
    } else {
        Err(Failure::new(
            Exit::WrongPassword,
            "the two passwords differ",
        ))
    }
}

/// Reads a line without echo. The echo comes back when this is dropped, even half-way: a signal
/// drops it while another thread still waits for the line.
async fn answer(prompt: &str, terminal: File) -> io::Result<Option<Vec<u8>>> {
    let mut writer = terminal.try_clone()?;
    write!(writer, "{prompt}: ")?;
    let silent = Silent::new(terminal.try_clone()?)?;
    let read = tokio::task::spawn_blocking(move || first_line(terminal)).await;
    drop(silent);
    writeln!(writer)?;
    read.map_err(io::Error::other)?
}

/// A terminal whose echo is off until this is dropped.
struct Silent {
    terminal: File,
    before: Termios,
}

impl Silent {
    fn new(terminal: File) -> io::Result<Self> {
        let before = termios::tcgetattr(&terminal)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        termios::tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _gone = termios::tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(globals: &Globals, variables: &[(&str, &str)]) -> Option<Source> {
        let profile = Profile {
            password_command: Some("profile".to_owned()),
            ..Profile::default()
        };
        let environment = Environment::from_pairs(variables.iter().copied());
        Source::find(globals, &environment, &profile)
    }

    #[test]
    fn the_nearest_source_counts() {
        let all = [
            ("REPO_PASSWORD", "value"),
            ("REPO_PASSWORD_FILE", "/file"),
            ("REPO_PASSWORD_COMMAND", "command"),
        ];
        let none = Globals::default();
        let flag = Globals {
            password_file: Some("/flag".into()),
            ..Globals::default()
        };
        for (globals, variables, expected) in [
            (&flag, &all[..], Source::File("/flag".into())),
            (&none, &all[..], Source::Value("value".into())),
            (&none, &all[1..], Source::File("/file".into())),
            (&none, &all[2..], Source::Command("command".into())),
            (&none, &all[3..], Source::Command("profile".into())),
        ] {
            assert_eq!(source(globals, variables), Some(expected));
        }
    }

    #[test]
    fn a_password_is_a_line_without_its_end() {
        for (bytes, line) in [
            (&b"secret\n"[..], Some(&b"secret"[..])),
            (b"secret\r\nmore\n", Some(b"secret")),
            (b" spaces count ", Some(b" spaces count ")),
            (b"\xff\n", Some(b"\xff")),
            (b"\nsecond\n", None),
            (b"", None),
        ] {
            assert_eq!(first_line(bytes).expect("read").as_deref(), line);
        }
    }

    #[test]
    fn commands_give_their_first_line_or_fail() {
        let read = |command: &str| Source::Command(command.into()).read();
        assert_eq!(read("printf 'a b\\nc'"), Ok(b"a b".to_vec()));
        let failed = read("echo a; exit 3").expect_err("a failure");
        assert!(failed.message.contains("exit status: 3"), "{failed:?}");
        assert!(read("true").is_err());
        assert!(Source::File("/does/not/exist".into()).read().is_err());
    }
}
