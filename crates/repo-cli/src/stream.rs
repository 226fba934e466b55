//! Bytes that are not files: standard input, and the output of a command.

use std::ffi::OsString;
use std::io::{self, Read};
use std::process::{Child, Command, Stdio};

use crate::exit::Failure;
use crate::show;

/// Secrets that the command whose output is saved has no use for.
const SECRETS: [&str; 4] = [
    "REPO_PASSWORD",
    "REPO_PASSWORD_FILE",
    "REPO_PASSWORD_COMMAND",
    "REPO_NEW_PASSWORD",
];

/// Called at the end of the bytes; an error means that they are not all there.
type Finish = Box<dyn FnOnce() -> Result<(), String> + Send>;

/// A source of bytes that is read once.
pub(crate) struct Stream {
    pub(crate) source: Box<dyn Read + Send>,
    pub(crate) finish: Finish,
}

impl Stream {
    /// Standard input.
    pub(crate) fn stdin() -> Self {
        Self {
            source: Box::new(io::stdin()),
            finish: Box::new(|| Ok(())),
        }
    }

    /// The output of a command, which starts now. The stream is whole only if the command succeeds.
    pub(crate) fn command(command: &[OsString]) -> Result<Self, Failure> {
        let shown = shown(command);
        let (program, arguments) = command
            .split_first()
            .ok_or_else(|| Failure::usage("no command is given"))?;
        let mut process = Command::new(program);
        process
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        for secret in SECRETS {
            process.env_remove(secret);
        }
        let mut child = process
            .spawn()
            .map_err(|error| Failure::because(format!("cannot start {shown}"), &error))?;
        let Some(source) = child.stdout.take() else {
            return Err(Failure::failed(format!("cannot read from {shown}")));
        };
        Ok(Self {
            source: Box::new(source),
            finish: Box::new(move || conclude(child, &shown)),
        })
    }
}

fn conclude(mut child: Child, shown: &str) -> Result<(), String> {
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{shown} failed: {status}")),
        Err(error) => Err(format!("cannot wait for {shown}: {error}")),
    }
}

/// A command for people. Its arguments are left out: one of them may be a secret.
pub(crate) fn shown(command: &[OsString]) -> String {
    match command.first() {
        Some(program) => format!("command {}", show::path(program.as_encoded_bytes())),
        None => "command".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str) -> (Vec<u8>, Result<(), String>) {
        let command = ["sh", "-c", script].map(OsString::from);
        let mut stream = Stream::command(&command).expect("a shell");
        let mut bytes = Vec::new();
        stream.source.read_to_end(&mut bytes).expect("output");
        (bytes, (stream.finish)())
    }

    #[test]
    fn a_command_gives_its_output_and_its_end() {
        assert_eq!(run("printf abc"), (b"abc".to_vec(), Ok(())));
        let (bytes, end) = run("printf half; exit 7");
        assert_eq!(bytes, b"half");
        assert_eq!(end, Err("command sh failed: exit status: 7".to_owned()));
        let (_, killed) = run("kill -9 $$");
        assert!(killed.is_err_and(|why| why.contains("signal: 9")));
    }

    #[test]
    fn a_command_that_cannot_start_is_named() {
        let failure = Stream::command(&["/no/such/program".into()]).err();
        let message = failure.expect("a failure").message;
        assert!(
            message.contains("cannot start command /no/such/program: "),
            "{message}"
        );
    }
}
