//! Where the repository of a tool lies: in a directory, or in a bucket of a SeaweedFS server that runs
//! as long as the benchmark.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use repo_testkit::Seaweed;

use crate::cluster::tool::Name;
use crate::data;
use crate::error::{Result, io};

const REGION: &str = "us-east-1";

/// The place of one repository.
#[derive(Clone)]
pub(super) enum Place {
    /// A directory.
    Directory(PathBuf),
    /// A bucket of its own.
    Bucket {
        server: Arc<Seaweed>,
        name: String,
        /// Where settings that are read from a file stand.
        settings: PathBuf,
    },
}

impl Place {
    /// A place for the repository of a tool whose directory is `dir`, on the server when there is one.
    pub(super) fn create(dir: &Path, server: Option<&Arc<Seaweed>>) -> Result<Self> {
        let Some(server) = server else {
            return Ok(Self::Directory(dir.join("repository")));
        };
        let name = dir.file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        server
            .create_bucket(&name)
            .map_err(io("create", Path::new(&name)))?;
        let place = Self::Bucket {
            server: Arc::clone(server),
            name,
            settings: dir.with_extension("toml"),
        };
        place.write_settings()?;
        Ok(place)
    }

    /// Bytes stored there.
    pub(super) fn stored(&self) -> Result<u64> {
        match self {
            Self::Directory(path) => Ok(data::extent(path)?.bytes),
            Self::Bucket { server, name, .. } => {
                server.bytes_in(name).map_err(io("list", Path::new(name)))
            }
        }
    }

    /// Tells a tool where its repository is.
    pub(super) fn tell(&self, tool: Name, command: &mut Command) {
        match self {
            Self::Directory(path) => match tool {
                Name::Restic => command.env("RESTIC_REPOSITORY", path),
                Name::Rustic => command.env("RUSTIC_REPOSITORY", path),
                Name::Repo => command.env("REPO_REPOSITORY", path),
                Name::Pgbackrest => command.arg(format!("--repo1-path={}", path.display())),
            },
            Self::Bucket {
                server,
                name,
                settings,
            } => {
                let (key, secret) = server.credentials();
                command.env("AWS_ACCESS_KEY_ID", key);
                command.env("AWS_SECRET_ACCESS_KEY", secret);
                command.env("AWS_DEFAULT_REGION", REGION);
                match tool {
                    Name::Restic => {
                        let place = format!("s3:{}/{name}/repository", server.endpoint());
                        command.env("RESTIC_REPOSITORY", place)
                    }
                    Name::Rustic => command.env("RUSTIC_USE_PROFILE", settings.with_extension("")),
                    Name::Repo => {
                        command.env("AWS_ENDPOINT", server.endpoint());
                        command.env("AWS_ALLOW_HTTP", "true");
                        command.env("REPO_REPOSITORY", format!("s3://{name}/repository"))
                    }
                    Name::Pgbackrest => {
                        command.env("PGBACKREST_REPO1_S3_KEY", key);
                        command.env("PGBACKREST_REPO1_S3_KEY_SECRET", secret);
                        // It speaks TLS only.
                        command.args([
                            "--repo1-type=s3",
                            "--repo1-path=/repository",
                            "--repo1-s3-endpoint=127.0.0.1",
                            "--repo1-s3-uri-style=path",
                            "--no-repo1-storage-verify-tls",
                        ]);
                        command.args([
                            format!("--repo1-s3-region={REGION}"),
                            format!("--repo1-s3-bucket={name}"),
                            format!("--repo1-storage-port={}", server.tls_port()),
                        ])
                    }
                }
            }
        };
    }

    /// The profile of rustic, which takes options of a store from nowhere else.
    fn write_settings(&self) -> Result<()> {
        let Self::Bucket {
            server,
            name,
            settings,
        } = self
        else {
            return Ok(());
        };
        let (key, secret) = server.credentials();
        let endpoint = server.endpoint();
        let text = format!(
            "[repository]\nrepository = \"opendal:s3\"\n\n[repository.options]\nroot = \"/repository\"\n\
             bucket = \"{name}\"\nendpoint = \"{endpoint}\"\nregion = \"{REGION}\"\n\
             access_key_id = \"{key}\"\nsecret_access_key = \"{secret}\"\n"
        );
        fs::write(settings, text).map_err(io("write", settings))
    }
}
