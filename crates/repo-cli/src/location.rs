//! Which repository is meant, and how it is opened.
//!
//! The first of these that is given counts: `--repo`, REPO_REPOSITORY, REPO_REPOSITORY_FILE, the
//! profile. With none of them it is the default repository in the user's data directory, which the
//! first `snapshot` makes, with a generated key in a file beside it.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use repo_core::{Access, CreateOptions, Error, OpenOptions, Repository, Store};

use crate::args::Globals;
use crate::context::Context;
use crate::environment::Environment;
use crate::exit::Failure;
use crate::key_file;
use crate::message::CreatedMessage;
use crate::password::{self, Source};
use crate::profile::Profile;
use crate::show;

/// The repository that a command is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// The user named it.
    Named(String),
    /// The user's own, opened by a key in a file.
    Default {
        directory: PathBuf,
        key_file: PathBuf,
    },
}

impl Place {
    /// Finds out which repository is meant.
    pub(crate) fn find(
        globals: &Globals,
        environment: &Environment,
        profile: &Profile,
    ) -> Result<Self, Failure> {
        if let Some(location) = &globals.repo {
            return Self::named(location, "--repo");
        }
        if let Some(location) = environment.get("REPO_REPOSITORY") {
            return Self::named(location, "REPO_REPOSITORY");
        }
        if let Some(file) = environment.path("REPO_REPOSITORY_FILE") {
            let shown = show::local_path(&file);
            let text = fs::read_to_string(&file).map_err(|error| {
                Failure::because(format!("cannot read the repository file {shown}"), &error)
            })?;
            return Self::named(OsStr::new(text.trim()), &shown);
        }
        if let Some(location) = &profile.repository {
            return Self::named(OsStr::new(location), "the profile");
        }
        let data = environment
            .data_dir()
            .map_err(|_| Failure::usage("no repository is named, and HOME is not set"))?;
        Ok(Self::Default {
            directory: data.join("default"),
            key_file: data.join("default.key"),
        })
    }

    /// The place that `by` names.
    pub(crate) fn named(location: &OsStr, by: &str) -> Result<Self, Failure> {
        match location.to_str() {
            Some("") => Err(Failure::usage(format!("{by} names no repository"))),
            Some(text) => Ok(Self::Named(text.to_owned())),
            None => Err(Failure::usage(format!(
                "the location of the repository is not UTF-8: {}",
                show::local_path(Path::new(location))
            ))),
        }
    }

    fn location(&self) -> Result<&str, Failure> {
        match self {
            Self::Named(location) => Ok(location),
            Self::Default { directory, .. } => directory.to_str().ok_or_else(|| {
                Failure::failed(format!(
                    "the data directory is not UTF-8: {}",
                    show::local_path(directory)
                ))
            }),
        }
    }
}

impl Context {
    /// Opens the repository as it is now.
    pub(crate) async fn open(&self) -> Result<Repository, Failure> {
        self.open_at(None).await
    }

    /// Where the repository is, without secrets.
    pub(crate) fn shown_location(&self) -> Option<String> {
        self.store().ok().map(|store| store.location().to_owned())
    }

    /// Opens the repository as it was at a commit, read-only.
    pub(crate) async fn open_at(&self, at: Option<u64>) -> Result<Repository, Failure> {
        let (repository, _) = self.unlock(at).await?;
        if at.is_none() {
            // A command that opens it twice knows it by the first.
            self.repository.set(repository.clone()).ok();
        }
        Ok(repository)
    }

    /// The same, and says which password opened it.
    pub(crate) async fn unlock(
        &self,
        at: Option<u64>,
    ) -> Result<(Repository, Option<Vec<u8>>), Failure> {
        let options = OpenOptions {
            cache_dir: self.cache_dir()?,
            at,
        };
        let store = self.store()?;
        if let Some(password) = self.password()? {
            let access = Access::password(password.clone());
            let error = match Repository::open(store.clone(), &access, &options).await {
                Ok(opened) => return Ok((opened, Some(password))),
                Err(error) => error,
            };
            // A rotation of the keys was stopped before the new key had its place.
            let outdated = matches!(
                error,
                Error::WrongPassword { .. } | Error::KeysRotated { .. }
            );
            let Some((next, file)) = self.next_key()?.filter(|_| outdated) else {
                return Err(error.into());
            };
            let access = Access::password(next.clone());
            let opened = Repository::open(store, &access, &options).await?;
            key_file::adopt(file)?;
            return Ok((opened, Some(next)));
        }
        // Without a password: what is encrypted says so, and only then is somebody asked.
        match Repository::open(store.clone(), &Access::Plain, &options).await {
            Err(Error::PasswordNeeded { location }) => {
                let missing = format!("no password is given for the repository at {location}");
                let prompt = format!("password of {location}");
                let password = password::ask(&prompt, &missing).await?;
                let access = Access::password(password.clone());
                let opened = Repository::open(store, &access, &options).await?;
                Ok((opened, Some(password)))
            }
            opened => Ok((opened?, None)),
        }
    }

    /// The key that a rotation was to put in the place of the default repository's, and was stopped.
    fn next_key(&self) -> Result<Option<(Vec<u8>, &Path)>, Failure> {
        let Some(file) = self.key_file() else {
            return Ok(None);
        };
        let next = key_file::next(file);
        let next = next.exists().then(|| password::read_file(&next));
        Ok(next.transpose()?.map(|key| (key, file)))
    }

    /// The file whose key opens the repository, when it is the default one and nothing else does.
    pub(crate) fn key_file(&self) -> Option<&Path> {
        match (&self.place, &self.source) {
            (Place::Default { key_file, .. }, None) => Some(key_file),
            _ => None,
        }
    }

    /// Opens the repository, and makes it first when it is the default one.
    pub(crate) async fn open_or_create_default(&self) -> Result<Repository, Failure> {
        match (&self.place, self.open().await) {
            (Place::Default { .. }, Err(failure))
                if failure.exit == crate::exit::Exit::NoRepository =>
            {
                let options = CreateOptions::default();
                let created = self.create_default(&options).await?;
                self.announce(&created)?;
                Ok(created)
            }
            (_, opened) => opened,
        }
    }

    /// Makes the default repository, with a generated key.
    pub(crate) async fn create_default(
        &self,
        options: &CreateOptions,
    ) -> Result<Repository, Failure> {
        let access = match (&self.place, self.password()?) {
            (_, Some(password)) => Access::password(password),
            (Place::Default { key_file, .. }, None) => {
                Access::password(key_file::generate(key_file)?)
            }
            (Place::Named(_), None) => Access::Plain,
        };
        self.create(&access, options).await
    }

    /// Makes a repository and warns about a store that cannot keep writers apart.
    pub(crate) async fn create(
        &self,
        access: &Access,
        options: &CreateOptions,
    ) -> Result<Repository, Failure> {
        let repository = Repository::create(self.store()?, access, options).await?;
        self.repository.set(repository.clone()).ok();
        if !repository.create_only() {
            self.warn(&format!(
                "{} overwrites objects although asked not to: never write to it from two places at once",
                repository.location()
            ));
        }
        Ok(repository)
    }

    /// What there is to say of a repository that was made.
    pub(crate) fn created(&self, repository: &Repository) -> CreatedMessage {
        let key_file = self.key_file().filter(|_| repository.encrypted());
        let key_file = key_file.map(show::local_path);
        CreatedMessage {
            id: repository.id().to_hex(),
            location: repository.location().to_owned(),
            encrypted: repository.encrypted(),
            key_file,
        }
    }

    /// Says beside the result where the default repository and its key are.
    fn announce(&self, repository: &Repository) -> Result<(), Failure> {
        let message = self.created(repository);
        if self.output.is_json() {
            return self.output.message(&message);
        }
        match &message.key_file {
            Some(key_file) => self.output.notice(&format!(
                "made a repository at {}; its key is in {key_file}: keep a copy of the key",
                message.location
            )),
            None => self
                .output
                .notice(&format!("made a repository at {}", message.location)),
        }
        Ok(())
    }

    /// The password that is configured, or the key of the default repository.
    pub(crate) fn password(&self) -> Result<Option<Vec<u8>>, Failure> {
        match (&self.source, &self.place) {
            (Some(source), _) => source.read().map(Some),
            (None, Place::Default { key_file, .. }) if key_file.exists() => {
                password::read_file(key_file).map(Some)
            }
            (None, _) => Ok(None),
        }
    }

    /// The store that the repository lies in. No request.
    pub(crate) fn store(&self) -> Result<Store, Failure> {
        Store::open(self.place.location()?, &self.store_options())
            .map_err(|error| Failure::from(Error::Store(error)))
    }

    /// Options of a store from all that may say, the strongest last.
    pub(crate) fn store_options(&self) -> Vec<(String, String)> {
        let mut options = self.environment.provider_options();
        let profile = self.profile.options.iter();
        options.extend(profile.map(|(key, value)| (key.to_ascii_lowercase(), value.clone())));
        options.extend(self.globals.options.iter().cloned());
        options
    }

    /// Where the cache is kept, if it is.
    pub(crate) fn cache_dir(&self) -> Result<Option<PathBuf>, Failure> {
        if self.globals.no_cache {
            return Ok(None);
        }
        let named = self.globals.cache_dir.clone();
        match named.or_else(|| self.environment.path("REPO_CACHE_DIR")) {
            Some(directory) => Ok(Some(directory)),
            // Without a home there is nowhere to keep a cache, which is no reason to fail.
            None => Ok(self.environment.cache_dir().ok()),
        }
    }
}

/// The place and password source of a command, from all that may say.
pub(crate) fn find(
    globals: &Globals,
    environment: &Environment,
    profile: &Profile,
) -> Result<(Place, Option<Source>), Failure> {
    let place = Place::find(globals, environment, profile)?;
    Ok((place, Source::find(globals, environment, profile)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(flag: Option<&str>, variables: &[(&str, &str)]) -> Result<Place, Failure> {
        let globals = Globals {
            repo: flag.map(Into::into),
            ..Globals::default()
        };
        let profile = Profile {
            repository: Some("/profile".to_owned()),
            ..Profile::default()
        };
        let environment = Environment::from_pairs(variables.iter().copied());
        Place::find(&globals, &environment, &profile)
    }

    #[test]
    fn the_nearest_name_counts() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("f");
        fs::write(&file, "/from-file\n").expect("a file");
        let file = file.to_str().expect("UTF-8");
        let all = [
            ("REPO_REPOSITORY", "/variable"),
            ("REPO_REPOSITORY_FILE", file),
        ];
        for (flag, variables, expected) in [
            (Some("/flag"), &all[..], "/flag"),
            (None, &all[..], "/variable"),
            (None, &all[1..], "/from-file"),
            (None, &all[2..], "/profile"),
        ] {
            assert_eq!(
                place(flag, variables),
                Ok(Place::Named(expected.to_owned()))
            );
        }
        assert!(place(Some(""), &[]).is_err());
    }

    #[test]
    fn without_a_name_it_is_the_users_own() {
        let (globals, profile) = (Globals::default(), Profile::default());
        let home = Environment::from_pairs([("HOME", "/h")]);
        let expected = Place::Default {
            directory: "/h/.local/share/repo/default".into(),
            key_file: "/h/.local/share/repo/default.key".into(),
        };
        assert_eq!(Place::find(&globals, &home, &profile), Ok(expected));
        let homeless = Environment::default();
        assert!(Place::find(&globals, &homeless, &profile).is_err());
    }
}
