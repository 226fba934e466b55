//! Which repository is meant, and how it is opened.
//!
//! The first of these that is given counts: `--repo`, REPO_REPOSITORY, REPO_REPOSITORY_FILE, the
//! profile. With none of them it is the default repository in the user's data directory, which the
//! first `snapshot` makes, with a generated key in a file beside it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use repo_core::{Access, CreateOptions, Error, OpenOptions, Repository, Store};

use crate::args::Globals;
use crate::context::Context;
use crate::environment::Environment;
use crate::exit::Failure;
use crate::message::CreatedMessage;
use crate::password::{self, Source};
use crate::profile::Profile;
use crate::show;

/// Random bytes of a generated key; the file holds them in hexadecimal.
const KEY_BYTES: usize = 32;

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
        let repository = self.unlock(at).await?;
        if at.is_none() {
            // A command that opens it twice knows it by the first.
            self.repository.set(repository.clone()).ok();
        }
        Ok(repository)
    }

    async fn unlock(&self, at: Option<u64>) -> Result<Repository, Failure> {
        let options = OpenOptions {
            cache_dir: self.cache_dir()?,
            at,
        };
        let store = self.store()?;
        if let Some(password) = self.password()? {
            let access = Access::password(password);
            return Ok(Repository::open(store, &access, &options).await?);
        }
        // Without a password: what is encrypted says so, and only then is somebody asked.
        match Repository::open(store.clone(), &Access::Plain, &options).await {
            Err(Error::PasswordNeeded { location }) => {
                let missing = format!("no password is given for the repository at {location}");
                let prompt = format!("password of {location}");
                let access = Access::password(password::ask(&prompt, &missing).await?);
                Ok(Repository::open(store, &access, &options).await?)
            }
            opened => Ok(opened?),
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
            (Place::Default { key_file, .. }, None) => Access::password(generate_key(key_file)?),
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
        let key_file = match (&self.place, &self.source) {
            (Place::Default { key_file, .. }, None) if repository.encrypted() => {
                Some(show::local_path(key_file))
            }
            _ => None,
        };
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

/// Writes a new key to a file only its owner can read, durably, before anything depends on it.
/// A key that is there already is used: an earlier run may have been stopped in between.
fn generate_key(file: &Path) -> Result<Vec<u8>, Failure> {
    let shown = show::local_path(file);
    let failed =
        |error: io::Error| Failure::because(format!("cannot write the key file {shown}"), &error);
    let directory = file.parent().unwrap_or(Path::new("/"));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(failed)?;
    let mut random = [0; KEY_BYTES];
    getrandom::fill(&mut random).map_err(|error| failed(io::Error::other(error)))?;
    let key: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut options = File::options();
    match options.write(true).create_new(true).mode(0o600).open(file) {
        Ok(mut made) => {
            made.write_all(format!("{key}\n").as_bytes())
                .and_then(|()| made.sync_all())
                .and_then(|()| File::open(directory)?.sync_all())
                .map_err(failed)?;
            Ok(key.into_bytes())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => password::read_file(file),
        Err(error) => Err(failed(error)),
    }
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

    #[test]
    fn a_generated_key_is_private_and_made_once() {
        use std::os::unix::fs::PermissionsExt as _;

        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("repo/default.key");
        let key = generate_key(&file).expect("a key");
        assert_eq!(key.len(), 2 * KEY_BYTES);
        let mode = fs::metadata(&file).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(generate_key(&file), Ok(key));
    }
}
