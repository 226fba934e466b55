//! Running other programs from the workspace root, and saying how to repeat what failed.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program to run, with the environment that matters to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Invocation {
    program: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Invocation {
    /// Splits a plain line at its spaces; there is no quoting.
    pub(crate) fn new(line: &str) -> Self {
        let mut words = line.split_whitespace().map(str::to_owned);
        Self {
            program: words.next().unwrap_or_default(),
            arguments: words.collect(),
            environment: Vec::new(),
        }
    }

    /// Adds one argument as it is.
    pub(crate) fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets one environment variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs it with the output passed through.
    pub(crate) fn run(&self, root: &Path) -> Result<(), String> {
        let status = self
            .command(root)
            .status()
            .map_err(|error| format!("{}: {error}", self.program))?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("{}: {status}", self.program))
        }
    }

    /// Runs it and returns what it wrote to standard output.
    pub(crate) fn output(&self, root: &Path) -> Result<String, String> {
        let output = self
            .command(root)
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| format!("{}: {error}", self.program))?;
        if !output.status.success() {
            return Err(format!("{self}: {}", output.status));
        }
        String::from_utf8(output.stdout).map_err(|error| format!("{self}: {error}"))
    }

    /// Whether the program can be started and succeeds; its output is dropped.
    pub(crate) fn works(&self, root: &Path) -> bool {
        self.command(root)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }

    fn command(&self, root: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .envs(
                self.environment
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_str())),
            )
            .current_dir(root)
            .stdin(Stdio::null());
        // `cargo run` exports these about xtask itself; a nested cargo or test must not see them.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                command.env_remove(name.as_ref());
            }
        }
        command
    }
}

impl std::fmt::Display for Invocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut line = String::new();
        for (name, value) in &self.environment {
            write!(line, "{name}={} ", quote(value))?;
        }
        line.push_str(&self.program);
        for argument in &self.arguments {
            write!(line, " {}", quote(argument))?;
        }
        f.write_str(&line)
    }
}

/// Quotes a word for the shell where it needs it.
pub(crate) fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Cargo's target directory: the environment's, else the workspace's own.
pub(crate) fn target_dir(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invocation_prints_as_a_line_that_can_be_pasted() {
        let line = Invocation::new("cargo doc --no-deps").env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(
            line.to_string(),
            "RUSTDOCFLAGS='-D warnings' cargo doc --no-deps"
        );
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote(""), "''");
    }

    #[test]
    fn failure_and_success_are_told_apart() {
        let here = Path::new(".");
        assert!(Invocation::new("true").run(here).is_ok());
        assert!(Invocation::new("false").run(here).is_err());
        assert!(Invocation::new("no-such-program-here").run(here).is_err());
        assert!(!Invocation::new("no-such-program-here").works(here));
        assert_eq!(
            Invocation::new("printf")
                .arg("a b")
                .output(here)
                .expect("printf exists"),
            "a b"
        );
        assert!(Invocation::new("false").output(here).is_err());
    }
}
