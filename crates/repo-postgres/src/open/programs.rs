//! Which programs of Postgres start a cluster: those of its own major version.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, Result};

/// The programs of the major version of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    directory: PathBuf,
}

impl Programs {
    /// Finds those of `version`, as in 150004, in the first of `directories` that has them, or where
    /// systems install them.
    pub fn find(version: u32, directories: &[PathBuf]) -> Result<Self> {
        let major = version / 10_000;
        let usual = [
            format!("/usr/lib/postgresql/{major}/bin"),
            format!("/usr/pgsql-{major}/bin"),
            "/usr/local/pgsql/bin".to_owned(),
        ];
        let usual = usual.into_iter().map(PathBuf::from);
        directories
            .iter()
            .cloned()
            .chain(usual)
            .find(|directory| major_of(&directory.join("postgres")) == Some(major))
            .map(|directory| Self { directory })
            .ok_or(Error::NoPrograms { major })
    }

    /// The program `name`.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// The major version of a server, when there is one.
fn major_of(program: &Path) -> Option<u32> {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null());
    let output = command.stderr(Stdio::null()).output().ok()?;
    parse(&String::from_utf8_lossy(&output.stdout))
}

/// From `postgres (PostgreSQL) 15.4 (Debian 15.4-1)`, `17beta1` or `18.0`.
fn parse(text: &str) -> Option<u32> {
    let number = text.split_once("(PostgreSQL) ")?.1;
    let end = number.find(|c: char| !c.is_ascii_digit());
    number.get(..end.unwrap_or(number.len()))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        for (text, major) in [
            (
                "postgres (PostgreSQL) 15.4 (Debian 15.4-1.pgdg)\n",
                Some(15),
            ),
            ("postgres (PostgreSQL) 17beta1\n", Some(17)),
            ("postgres (PostgreSQL) 18", Some(18)),
            ("postgres (EnterpriseDB) 9", None),
            ("", None),
        ] {
            assert_eq!(parse(text), major, "{text}");
        }
    }

    #[test]
    fn programs_of_another_version_are_not_taken() {
        let error = Programs::find(990_001, &[PathBuf::from("/usr/bin")]);
        assert!(matches!(error, Err(Error::NoPrograms { major: 99 })));
    }
}
