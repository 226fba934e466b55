//! Sessions with the server, and the non-exclusive backup that lives in one of them.

use std::path::PathBuf;
use std::str::FromStr;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls, Row};

use crate::description::{Database, Tablespace};
use crate::error::{Error, Result};
use crate::limits::{CONNECT_TIMEOUT, KEEPALIVE};
use crate::lsn::Lsn;
use crate::postmaster::Postmaster;

/// Oldest version that is supported.
const OLDEST: u32 = 130_000;

/// Where the server is, and as whom to talk to it.
#[derive(Debug, Clone)]
pub struct Connection {
    config: Config,
}

impl Connection {
    /// Reads a connection string: `key=value` pairs or a URL. TLS is not offered.
    pub fn parse(dsn: &str) -> Result<Self> {
        let mut config = Config::from_str(dsn).map_err(|source| Error::Dsn { source })?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        config.keepalives_idle(KEEPALIVE);
        if config.get_application_name().is_none() {
            config.application_name("repo");
        }
        Ok(Self { config })
    }

    /// A connection with exactly these settings.
    pub(crate) fn of(config: Config) -> Self {
        Self { config }
    }

    /// The user, unless the connection string names one.
    #[must_use]
    pub fn or_user(mut self, user: &str) -> Self {
        if self.config.get_user().is_none() {
            self.config.user(user);
        }
        self
    }

    /// The password, unless the connection string has one.
    #[must_use]
    pub fn or_password(mut self, password: &str) -> Self {
        if self.config.get_password().is_none() {
            self.config.password(password);
        }
        self
    }

    /// Where the running server listens, unless the connection string says where; and the database
    /// that every cluster has.
    pub(crate) fn or_at(mut self, postmaster: &Postmaster) -> Self {
        if self.config.get_hosts().is_empty() && self.config.get_hostaddrs().is_empty() {
            match &postmaster.socket_directory {
                Some(directory) => self.config.host_path(directory),
                None => self.config.host("localhost"),
            };
            if self.config.get_ports().is_empty() {
                self.config.port(postmaster.port);
            }
        }
        if self.config.get_dbname().is_none() {
            self.config.dbname("postgres");
        }
        self
    }

    /// The settings to connect with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Opens a session with the database `name`, or with that of the connection string.
    pub(crate) async fn open(&self, name: Option<&str>) -> Result<Client> {
        let mut config = self.config.clone();
        if let Some(name) = name {
            config.dbname(name);
        }
        let (client, connection) = config
            .connect(NoTls)
            .await
            .map_err(|source| Error::Connect { source })?;
        // It ends when the client is dropped or the server goes; the next query tells which.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the session ended");
            }
        });
        Ok(client)
    }
}

/// What a server says about itself.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) version: u32,
    pub(crate) system_identifier: u64,
    pub(crate) catalog_version: u32,
    pub(crate) standby: bool,
    pub(crate) port: u16,
    pub(crate) checksums: bool,
    pub(crate) block_size: u32,
    pub(crate) segment_blocks: u32,
    pub(crate) wal_segment_size: u32,
}

/// A started backup.
#[derive(Debug, Clone)]
pub(crate) struct Started {
    pub(crate) start: Lsn,
    /// Why the server does not keep the log for us, when it does not.
    pub(crate) not_held: Option<String>,
}

/// What the server gives at the end of a backup.
#[derive(Debug, Clone)]
pub(crate) struct Stopped {
    pub(crate) stop: Lsn,
    pub(crate) label: Vec<u8>,
    /// Empty when there is no tablespace.
    pub(crate) map: Vec<u8>,
}

/// One session that can hold a backup: when it ends, the backup does.
pub(crate) struct Session {
    client: Client,
    pub(crate) facts: Facts,
}

impl Session {
    pub(crate) async fn open(connection: &Connection) -> Result<Self> {
        let client = connection.open(None).await?;
        let facts = facts(&client).await?;
        let session = Self { client, facts };
        session.unhurry().await?;
        Ok(session)
    }

    /// Nothing may end the session or a statement of it for taking long.
    async fn unhurry(&self) -> Result<()> {
        let doing = "lift the time limits of the session";
        let sql = "select set_config(name, '0', false) from pg_settings where name in \
                   ('statement_timeout', 'lock_timeout', 'idle_session_timeout', \
                   'idle_in_transaction_session_timeout', 'transaction_timeout')";
        self.client
            .query(sql, &[])
            .await
            .map_err(|source| Error::server(doing, source))?;
        Ok(())
    }

    /// Whether the session is known to have ended.
    pub(crate) fn is_lost(&self) -> bool {
        self.client.is_closed()
    }

    /// Begins a backup. `fast` asks for a checkpoint at once instead of one spread over time.
    pub(crate) async fn start(&self, label: &str, fast: bool) -> Result<Started> {
        let not_held = self.hold_wal().await?;
        let sql = if self.facts.version >= 150_000 {
            "select pg_backup_start($1, $2)::text"
        } else {
            "select pg_start_backup($1, $2, false)::text"
        };
        let row = self
            .client
            .query_one(sql, &[&label, &fast])
            .await
            .map_err(|source| Error::server("start a backup", source))?;
        let start: String = get(&row, 0, "start of a backup")?;
        Ok(Started {
            start: parse("start of a backup", &start)?,
            not_held,
        })
    }

    /// Makes the server keep the log from now on, for as long as this session lives. Gives the
    /// reason when it does not: then the log may be gone when it is copied, which is noticed.
    async fn hold_wal(&self) -> Result<Option<String>> {
        let sql =
            "select pg_create_physical_replication_slot('repo_' || pg_backend_pid(), true, true)";
        match self.client.query(sql, &[]).await {
            Ok(_) => Ok(None),
            Err(error) => match error.code() {
                Some(code)
                    if [
                        SqlState::INSUFFICIENT_PRIVILEGE,
                        SqlState::CONFIGURATION_LIMIT_EXCEEDED,
                        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                    ]
                    .contains(code) =>
                {
                    Ok(Some(said(&error)))
                }
                _ => Err(Error::server("keep the log for a backup", error)),
            },
        }
    }

    /// Ends the backup.
    pub(crate) async fn stop(&self) -> Result<Stopped> {
        let sql = if self.facts.version >= 150_000 {
            "select lsn::text, labelfile, spcmapfile from pg_backup_stop(false)"
        } else {
            "select lsn::text, labelfile, spcmapfile from pg_stop_backup(false, false)"
        };
        let row = match self.client.query_one(sql, &[]).await {
            Ok(row) => row,
            Err(error) => {
                if self.facts.standby && self.in_recovery().await.is_ok_and(|still| !still) {
                    return Err(Error::Promoted);
                }
                return Err(Error::server("end the backup", error));
            }
        };
        if self.facts.standby && !self.in_recovery().await? {
            return Err(Error::Promoted);
        }
        let stop: String = get(&row, 0, "end of a backup")?;
        let label: String = get(&row, 1, "backup_label")?;
        let map: Option<String> = get(&row, 2, "tablespace_map")?;
        Ok(Stopped {
            stop: parse("end of a backup", &stop)?,
            label: label.into_bytes(),
            map: map.unwrap_or_default().into_bytes(),
        })
    }

    async fn in_recovery(&self) -> Result<bool> {
        let row = self
            .client
            .query_one("select pg_is_in_recovery()", &[])
            .await
            .map_err(|source| Error::server("tell whether it is a standby", source))?;
        get(&row, 0, "state")
    }

    /// All databases; the second value says whether it accepts sessions.
    pub(crate) async fn databases(&self) -> Result<Vec<(Database, bool)>> {
        let sql = "select oid, datname::text, datallowconn from pg_database order by oid";
        let rows = self
            .client
            .query(sql, &[])
            .await
            .map_err(|source| Error::server("list its databases", source))?;
        rows.iter()
            .map(|row| {
                let database = Database {
                    oid: get(row, 0, "databases")?,
                    name: get(row, 1, "databases")?,
                };
                Ok((database, get(row, 2, "databases")?))
            })
            .collect()
    }

    /// Tablespaces besides the two in the data directory.
    pub(crate) async fn tablespaces(&self) -> Result<Vec<Tablespace>> {
        let sql = "select oid, pg_tablespace_location(oid) from pg_tablespace \
                   where spcname not in ('pg_default', 'pg_global') order by oid";
        let rows = self
            .client
            .query(sql, &[])
            .await
            .map_err(|source| Error::server("list its tablespaces", source))?;
        rows.iter()
            .map(|row| {
                let location: String = get(row, 1, "tablespaces")?;
                let location = PathBuf::from(location);
                Ok(Tablespace {
                    oid: get(row, 0, "tablespaces")?,
                    location: location.is_absolute().then_some(location),
                })
            })
            .collect()
    }
}

async fn facts(client: &Client) -> Result<Facts> {
    let doing = "tell what it is";
    let failed = |source| Error::server(doing, source);
    let settings = client
        .query(
            "select name, setting from pg_settings where name in ('server_version_num', 'port', \
             'data_checksums', 'block_size', 'segment_size', 'wal_segment_size')",
            &[],
        )
        .await
        .map_err(failed)?;
    let mut found = std::collections::BTreeMap::new();
    for row in &settings {
        found.insert(
            get::<String>(row, 0, "settings")?,
            get::<String>(row, 1, "settings")?,
        );
    }
    let setting = |name: &'static str| found.get(name).map_or("", String::as_str);
    let version = parse("server_version_num", setting("server_version_num"))?;
    if version < OLDEST {
        let version = format!("{}.{}", version / 10_000, version % 10_000);
        return Err(Error::TooOld { version });
    }
    let row = client
        .query_one(
            "select system_identifier::text, catalog_version_no::text, pg_is_in_recovery() \
             from pg_control_system()",
            &[],
        )
        .await
        .map_err(failed)?;
    // Signed in SQL, unsigned where it is stored.
    let identifier: String = get(&row, 0, "system identifier")?;
    let identifier: i64 = parse("system identifier", &identifier)?;
    Ok(Facts {
        version,
        system_identifier: identifier.cast_unsigned(),
        catalog_version: parse(
            "catalog version",
            &get::<String>(&row, 1, "catalog version")?,
        )?,
        standby: get(&row, 2, "state")?,
        port: parse("port", setting("port"))?,
        checksums: setting("data_checksums") == "on",
        block_size: parse("block_size", setting("block_size"))?,
        segment_blocks: parse("segment_size", setting("segment_size"))?,
        wal_segment_size: parse("wal_segment_size", setting("wal_segment_size"))?,
    })
}

/// A column of a row.
pub(crate) fn get<'r, T: tokio_postgres::types::FromSql<'r>>(
    row: &'r Row,
    column: usize,
    what: &'static str,
) -> Result<T> {
    row.try_get(column)
        .map_err(|error| Error::answer(what, error.to_string()))
}

fn parse<T: FromStr>(what: &'static str, text: &str) -> Result<T> {
    text.parse().map_err(|_| Error::answer(what, text))
}

/// What the server itself said, or else what went wrong.
fn said(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => error.message().to_owned(),
        None => error.to_string(),
    }
}
