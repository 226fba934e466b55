//! Settings from a file: `repo/config.toml` in the user's configuration directory.
//!
//! ```toml
//! # Used when no profile is named.
//! repository = "/srv/backup"
//! password-file = "~/.backup-password"
//! tags = ["laptop"]
//! exclude = ["*.tmp", "/home/*/.cache"]
//!
//! # Used with `--profile offsite` or REPO_PROFILE=offsite. Profiles do not inherit.
//! [profile.offsite]
//! repository = "s3://bucket/backup"
//! password-command = "pass show backup"
//! options = { aws_region = "eu-central-1" }
//! ```
//! The command line and the environment override it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::environment::Environment;
use crate::exit::Failure;
use crate::show;

/// The settings of one profile. All are optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Profile {
    /// Location of the repository.
    pub(crate) repository: Option<String>,
    /// File with the password; relative to the settings file.
    pub(crate) password_file: Option<PathBuf>,
    /// Command that prints the password.
    pub(crate) password_command: Option<String>,
    /// Options of the store.
    #[serde(default)]
    pub(crate) options: BTreeMap<String, String>,
    /// Tags of every snapshot.
    #[serde(default)]
    pub(crate) tags: Vec<String>,
    /// Patterns that no snapshot holds.
    #[serde(default)]
    pub(crate) exclude: Vec<String>,
}

/// The file: the unnamed profile and the named ones.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Settings {
    repository: Option<String>,
    password_file: Option<PathBuf>,
    password_command: Option<String>,
    #[serde(default)]
    options: BTreeMap<String, String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    exclude: Vec<String>,
    #[serde(default)]
    profile: BTreeMap<String, Profile>,
}

impl Profile {
    /// Reads the profile asked for; without a settings file, or a name, an empty one will do.
    pub(crate) fn load(name: Option<&str>, environment: &Environment) -> Result<Self, Failure> {
        let file = match environment.config_dir() {
            Ok(directory) => directory.join("config.toml"),
            Err(_) if name.is_none() => return Ok(Self::default()),
            Err(failure) => return Err(failure),
        };
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && name.is_none() => {
                return Ok(Self::default());
            }
            Err(error) => {
                let message = format!("cannot read the settings {}", show::local_path(&file));
                return Err(Failure::because(message, &error));
            }
        };
        let profile = Self::parse(&text, name)
            .map_err(|failure| failure.context(&show::local_path(&file)))?;
        profile.resolved(&file, environment)
    }

    fn parse(text: &str, name: Option<&str>) -> Result<Self, Failure> {
        let settings: Settings = toml::from_str(text).map_err(|error| {
            let line = error
                .span()
                .map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            Failure::usage(format!("line {line}: {}", error.message()))
        })?;
        let Some(name) = name else {
            return Ok(Self {
                repository: settings.repository,
                password_file: settings.password_file,
                password_command: settings.password_command,
                options: settings.options,
                tags: settings.tags,
                exclude: settings.exclude,
            });
        };
        let known: Vec<String> = settings.profile.keys().cloned().collect();
        settings
            .profile
            .into_iter()
            .find_map(|(key, profile)| (key == name).then_some(profile))
            .ok_or_else(|| {
                let known = match known.as_slice() {
                    [] => "it has none".to_owned(),
                    known => format!("it has {}", known.join(", ")),
                };
                Failure::usage(format!("no profile {name}: {known}"))
            })
    }

    /// Paths in the file mean the same wherever the program runs.
    fn resolved(mut self, file: &Path, environment: &Environment) -> Result<Self, Failure> {
        if let Some(path) = &self.password_file {
            let base = file.parent().unwrap_or(Path::new("/"));
            self.password_file = Some(base.join(environment.expand(path)?));
        }
        if let Some(location) = &self.repository
            && location.starts_with("~/")
        {
            let path = environment.expand(Path::new(location))?;
            self.repository = path.to_str().map(str::to_owned);
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "
repository = '~/backup'
password-file = 'secret'
tags = ['laptop']

[profile.offsite]
repository = 's3://bucket/backup'
password-command = 'pass show backup'
options = { aws_region = 'eu' }
exclude = ['*.tmp']
";

    #[test]
    fn the_unnamed_profile_and_the_named_ones_are_apart() {
        let home = Environment::from_pairs([("HOME", "/h")]);
        let file = Path::new("/h/.config/repo/config.toml");
        let plain = Profile::parse(TEXT, None).and_then(|p| p.resolved(file, &home));
        let plain = plain.expect("a profile");
        assert_eq!(plain.repository.as_deref(), Some("/h/backup"));
        let secret = Path::new("/h/.config/repo/secret");
        assert_eq!(plain.password_file.as_deref(), Some(secret));
        assert_eq!(plain.tags, ["laptop"]);

        let offsite = Profile::parse(TEXT, Some("offsite")).expect("a profile");
        assert_eq!(offsite.repository.as_deref(), Some("s3://bucket/backup"));
        assert_eq!(offsite.password_file, None);
        assert_eq!(offsite.options["aws_region"], "eu");
        assert_eq!(offsite.exclude, ["*.tmp"]);
        assert!(offsite.tags.is_empty(), "profiles do not inherit");
    }

    #[test]
    fn mistakes_are_named() {
        for (text, name, said) in [
            (TEXT, Some("other"), "no profile other: it has offsite"),
            ("", Some("x"), "no profile x: it has none"),
            ("a = 1", None, "line 1: unknown field `a`"),
            ("tags = ['a']\nexclude = 3", None, "line 2: invalid type"),
            (
                "[profile.a]\nprofile = 1",
                Some("a"),
                "line 2: unknown field",
            ),
        ] {
            let failure = Profile::parse(text, name).expect_err(text);
            assert!(failure.message.contains(said), "{}", failure.message);
        }
    }

    #[test]
    fn a_missing_file_matters_only_to_who_names_a_profile() {
        let place = tempfile::tempdir().expect("a directory");
        let home = Environment::from_pairs([("HOME", place.path())]);
        assert_eq!(Profile::load(None, &home), Ok(Profile::default()));
        assert!(Profile::load(Some("a"), &home).is_err());
        assert_eq!(
            Profile::load(None, &Environment::default()),
            Ok(Profile::default())
        );
    }
}
