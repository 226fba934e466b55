//! The environment and the directories it names, read once and passed on.
//!
//! An empty variable counts as unset.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::exit::Failure;

/// Variables of the process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    variables: BTreeMap<OsString, OsString>,
}

impl Environment {
    /// That of this process.
    pub(crate) fn of_process() -> Self {
        Self::from_pairs(std::env::vars_os())
    }

    pub(crate) fn from_pairs<K: Into<OsString>, V: Into<OsString>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let pairs = pairs
            .into_iter()
            .map(|(key, value)| (key.into(), value.into()));
        Self {
            variables: pairs.filter(|(_, value)| !value.is_empty()).collect(),
        }
    }

    /// A variable that is set.
    pub(crate) fn get(&self, name: &str) -> Option<&OsStr> {
        self.variables
            .get(OsStr::new(name))
            .map(OsString::as_os_str)
    }

    /// A variable that must be text.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, Failure> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match value.to_str() {
            Some(text) => Ok(Some(text)),
            None => Err(Failure::usage(format!("{name} is not UTF-8"))),
        }
    }

    /// A path in a variable.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from)
    }

    /// Variables of the storage providers, as options of the store: `AWS_REGION` is `aws_region`.
    pub(crate) fn provider_options(&self) -> Vec<(String, String)> {
        let families = ["AWS_", "GOOGLE_", "AZURE_"];
        self.variables
            .iter()
            .filter_map(|(name, value)| Some((name.to_str()?, value.to_str()?)))
            .filter(|(name, _)| families.iter().any(|family| name.starts_with(family)))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect()
    }

    /// The user's home directory.
    pub(crate) fn home(&self) -> Result<PathBuf, Failure> {
        self.path("HOME")
            .filter(|path| path.is_absolute())
            .ok_or_else(|| Failure::failed("no home directory is known: HOME is not set"))
    }

    /// Where this program's settings are.
    pub(crate) fn config_dir(&self) -> Result<PathBuf, Failure> {
        self.directory("XDG_CONFIG_HOME", ".config")
    }

    /// Where this program's data is.
    pub(crate) fn data_dir(&self) -> Result<PathBuf, Failure> {
        self.directory("XDG_DATA_HOME", ".local/share")
    }

    /// Where this program keeps what can be thrown away.
    pub(crate) fn cache_dir(&self) -> Result<PathBuf, Failure> {
        self.directory("XDG_CACHE_HOME", ".cache")
    }

    /// A base directory is used when absolute, as the XDG specification asks.
    fn directory(&self, variable: &str, in_home: &str) -> Result<PathBuf, Failure> {
        let base = match self.path(variable).filter(|path| path.is_absolute()) {
            Some(base) => base,
            None => self.home()?.join(in_home),
        };
        Ok(base.join("repo"))
    }

    /// A path that may start with `~/`.
    pub(crate) fn expand(&self, path: &Path) -> Result<PathBuf, Failure> {
        match path.strip_prefix("~") {
            Ok(rest) => Ok(self.home()?.join(rest)),
            Err(_) => Ok(path.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_is_unset() {
        let environment = Environment::from_pairs([("A", ""), ("B", "b")]);
        assert_eq!(environment.get("A"), None);
        assert_eq!(environment.get("B"), Some(OsStr::new("b")));
    }

    #[test]
    fn directories_follow_xdg() {
        let home = Environment::from_pairs([("HOME", "/h"), ("XDG_CACHE_HOME", "relative")]);
        assert_eq!(home.config_dir(), Ok("/h/.config/repo".into()));
        assert_eq!(home.cache_dir(), Ok("/h/.cache/repo".into()));
        let set = Environment::from_pairs([("HOME", "/h"), ("XDG_DATA_HOME", "/d")]);
        assert_eq!(set.data_dir(), Ok("/d/repo".into()));
        assert!(Environment::default().data_dir().is_err());
        assert_eq!(home.expand(Path::new("~/a/b")), Ok("/h/a/b".into()));
        assert_eq!(home.expand(Path::new("/a/~b")), Ok("/a/~b".into()));
    }

    #[test]
    fn variables_of_providers_become_options() {
        let environment = Environment::from_pairs([
            ("AWS_REGION", "eu"),
            ("PATH", "/bin"),
            ("GOOGLE_BUCKET", "b"),
            ("AZURE_X", ""),
        ]);
        let options = environment.provider_options();
        let expected = [("aws_region", "eu"), ("google_bucket", "b")];
        assert_eq!(options, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }
}
