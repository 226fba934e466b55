//! What a command says: results on standard output, warnings and errors on standard error.
//!
//! Results are text, or with `--json` one JSON object a line; [`crate::message`] holds the objects.
//! Nothing here panics when a pipe is closed: the command ends quietly, as its reader has had enough.

use std::fmt::Display;
use std::io::{self, BufWriter, Stdout, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::exit::Failure;
use crate::message::{ErrorMessage, WarningMessage};

/// Where results go. Clones write to the same place.
#[derive(Clone)]
pub(crate) struct Output {
    json: bool,
    stdout: Arc<Mutex<BufWriter<Stdout>>>,
}

impl Output {
    /// Writes text, or JSON lines.
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            stdout: Arc::new(Mutex::new(BufWriter::with_capacity(64 << 10, io::stdout()))),
        }
    }

    /// Whether results are JSON lines.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Writes one result in the form asked for.
    pub(crate) fn show<M: Serialize + Display>(&self, message: &M) -> Result<(), Failure> {
        if self.json {
            self.message(message)
        } else {
            self.line(message)
        }
    }

    /// Writes a line of text.
    pub(crate) fn line(&self, line: impl Display) -> Result<(), Failure> {
        writeln!(self.lock(), "{line}").map_err(|error| Failure::output(&error))
    }

    /// Writes a JSON object on a line of its own.
    pub(crate) fn message(&self, message: &impl Serialize) -> Result<(), Failure> {
        let mut out = self.lock();
        let written = match serde_json::to_writer(&mut *out, message) {
            Ok(()) => out.write_all(b"\n"),
            Err(error) => Err(error.into()),
        };
        written.map_err(|error| Failure::output(&error))
    }

    /// Writes out what is buffered.
    pub(crate) fn flush(&self) -> Result<(), Failure> {
        self.lock().flush().map_err(|error| Failure::output(&error))
    }

    /// Writes a line about something that went not quite as asked.
    pub(crate) fn warn(&self, message: &str) {
        if self.json {
            to_stderr(&json_line(&WarningMessage { message }));
        } else {
            to_stderr(&format!("repo: warning: {message}"));
        }
    }

    /// Writes a line that somebody should read once.
    pub(crate) fn notice(&self, message: &str) {
        if self.json {
            to_stderr(&json_line(&WarningMessage { message }));
        } else {
            to_stderr(&format!("repo: {message}"));
        }
    }

    fn lock(&self) -> MutexGuard<'_, BufWriter<Stdout>> {
        self.stdout.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Content of a file on its way to standard output, past any formatting.
impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lock().flush()
    }
}

/// Says why the program ends.
pub(crate) fn report(failure: &Failure, json: bool) {
    if failure.message.is_empty() {
        return;
    }
    if json {
        to_stderr(&json_line(&ErrorMessage {
            code: failure.exit as u8,
            message: &failure.message,
            hint: failure.hint.as_deref(),
        }));
    } else {
        to_stderr(&failure.line());
    }
}

/// Writes a line in one piece. That nobody reads it is no reason to fail.
pub(crate) fn to_stderr(line: &str) {
    let mut text = line.to_owned();
    text.push('\n');
    let _unread = io::stderr().lock().write_all(text.as_bytes());
}

fn json_line(message: &impl Serialize) -> String {
    serde_json::to_string(message).unwrap_or_else(|_| "{\"message_type\":\"error\"}".to_owned())
}
