//! Exit codes, and the one line a failed command leaves on standard error.
//!
//! Owns the table of codes, how errors of the library map to it, and advice; the library's messages
//! carry neither. A line is `repo: <message>: <cause>: <cause>; hint: <advice>`.

use std::error::Error as StdError;
use std::io;
use std::process::ExitCode;

use repo_core::{Error, ErrorKind};

/// What `repo --help` says about exit codes.
pub(crate) const EXIT_CODES_HELP: &str = "\
Exit codes:
    0  done
    1  failed
    2  wrong usage
    3  done, but some source could not be read, or the store kept some object
   10  no repository there
   11  conflict with another writer, or something exists already
   12  wrong password, or none
   20  the repository is damaged
  130  cancelled by a signal
  255  `pg archive-get` failed, where 1 says that the archive does not hold the file";

/// Exit code of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Everything asked for was done.
    Ok = 0,
    /// It was not done.
    Failed = 1,
    /// The command line asks for something that does not exist or contradicts itself.
    Usage = 2,
    /// Done, but not for all: some source could not be read, or the store refused to delete some
    /// object.
    Partly = 3,
    /// There is no repository at the location.
    NoRepository = 10,
    /// Another writer was first, or the thing to make exists.
    Conflict = 11,
    /// The password is wrong or missing.
    WrongPassword = 12,
    /// The repository is damaged.
    Damage = 20,
    /// A signal stopped the command.
    Cancelled = 130,
    /// `pg archive-get` failed. Postgres takes codes up to 125 for the end of the archive.
    StopRecovery = 255,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command ends early: a code and the line that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Code to exit with.
    pub(crate) exit: Exit,
    /// One line without prefix; empty when there is nothing to say.
    pub(crate) message: String,
    /// Advice, where there is any.
    pub(crate) hint: Option<String>,
}

impl Failure {
    /// A failure with a message of its own.
    pub(crate) fn new(exit: Exit, message: impl AsRef<str>) -> Self {
        Self {
            exit,
            message: one_line(message.as_ref()),
            hint: None,
        }
    }

    /// A failure without a more precise code.
    pub(crate) fn failed(message: impl AsRef<str>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// A command line that cannot be carried out.
    pub(crate) fn usage(message: impl AsRef<str>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// A failure with a cause, whose own causes follow.
    pub(crate) fn because(message: impl Into<String>, cause: &dyn StdError) -> Self {
        let mut parts = vec![message.into()];
        push_chain(&mut parts, cause);
        Self::new(Exit::Failed, parts.join(": "))
    }

    /// The reader of standard output has gone: nobody is left to tell.
    pub(crate) fn output_closed() -> Self {
        Self::new(Exit::Ok, "")
    }

    /// A failure that is all in an error and its causes.
    pub(crate) fn from_error(error: &dyn StdError) -> Self {
        let mut parts = Vec::new();
        push_chain(&mut parts, error);
        Self::new(Exit::Failed, parts.join(": "))
    }

    /// The command was stopped by a signal.
    pub(crate) fn cancelled() -> Self {
        Self::new(Exit::Cancelled, "cancelled")
    }

    /// Standard output could not be written.
    pub(crate) fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::output_closed()
        } else {
            Self::because("cannot write to standard output", error)
        }
    }

    /// The same failure with advice.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl AsRef<str>) -> Self {
        self.hint = Some(one_line(hint.as_ref()));
        self
    }

    /// The same failure, saying first what was being done.
    #[must_use]
    pub(crate) fn context(mut self, doing: &str) -> Self {
        self.message = format!("{}: {}", one_line(doing), self.message);
        self
    }

    /// The line for a person, without line end.
    pub(crate) fn line(&self) -> String {
        match &self.hint {
            Some(hint) => format!("repo: {}; hint: {hint}", self.message),
            None => format!("repo: {}", self.message),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let mut parts = Vec::new();
        push_chain(&mut parts, &error);
        let failure = Self::new(code(&error), parts.join(": "));
        match advice(&error) {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<repo_tables::Error> for Failure {
    fn from(error: repo_tables::Error) -> Self {
        if let repo_tables::Error::Repository(error) = error {
            return error.into();
        }
        let mut parts = Vec::new();
        push_chain(&mut parts, &error);
        let exit = match error.kind() {
            ErrorKind::Conflict => Exit::Conflict,
            _ => Exit::Failed,
        };
        let failure = Self::new(exit, parts.join(": "));
        match error {
            repo_tables::Error::SameName { .. } => failure.hint("name one of them: NAME=PLACE"),
            _ => failure,
        }
    }
}

fn code(error: &Error) -> Exit {
    match error {
        Error::NoRepository { .. } => Exit::NoRepository,
        Error::WrongPassword { .. } | Error::PasswordNeeded { .. } => Exit::WrongPassword,
        Error::Cancelled => Exit::Cancelled,
        _ => match error.kind() {
            ErrorKind::Conflict => Exit::Conflict,
            ErrorKind::Corrupt => Exit::Damage,
            _ => Exit::Failed,
        },
    }
}

fn advice(error: &Error) -> Option<&'static str> {
    match error {
        Error::NoRepository { .. } => Some("make one with `repo init`, or check the location"),
        Error::PasswordNeeded { .. } => {
            Some("set REPO_PASSWORD, REPO_PASSWORD_FILE or REPO_PASSWORD_COMMAND")
        }
        Error::NotEncrypted { .. } => Some("give no password if this is the repository you mean"),
        Error::UnknownSnapshot { .. } => Some("`repo snapshots` lists what there is"),
        Error::Protected { .. } => Some("`repo tag --unprotect` lifts the protection"),
        Error::EmptiesGroup { .. } => Some("--allow-empty forgets them all"),
        Error::UnknownPath { .. } => Some("`repo ls` lists what the snapshot holds"),
        Error::KeysLeft { .. } => Some(
            "give their passwords with --other-password-file, or drop the keys with --drop-others",
        ),
        Error::KeysNeeded { .. } => Some(
            "`repo gc --reseal` seals anew what is in use; a gc deletes the rest when its graces are over",
        ),
        Error::BeforeLog { .. } => Some("`repo log` shows what there is"),
        Error::KeysRotated { .. } => Some("give the password that it has now"),
        Error::RolledBack { .. } => {
            Some("if the repository was put back on purpose, delete its cache directory")
        }
        Error::Object { key, .. } if key.starts_with("log/") => {
            Some("`--at N` restores from the state after commit N, before the damaged one")
        }
        _ if error.kind() == ErrorKind::Corrupt => Some("`repo check` says what is affected"),
        _ => None,
    }
}

/// Appends the messages of an error and its causes, leaving out what an outer one says already.
fn push_chain(parts: &mut Vec<String>, error: &dyn StdError) {
    let mut next = Some(error);
    while let Some(error) = next {
        let text = one_line(&error.to_string());
        if !text.is_empty() && !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        next = error.source();
    }
}

/// The text on one line: line ends and their indentation become a space, other control characters
/// their escapes.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for part in text.lines().map(str::trim).filter(|part| !part.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        for c in part.chars() {
            match c {
                '\t' => line.push(' '),
                c if c.is_control() => line.extend(c.escape_default()),
                c => line.push(c),
            }
        }
    }
    line
}

#[cfg(test)]
mod tests;
