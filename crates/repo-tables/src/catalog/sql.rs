//! Catalogs that are two tables of a database, as those of Java (JDBC) and PyIceberg are. All values are text.

use std::path::PathBuf;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tokio::runtime::Handle;
use tokio_postgres::NoTls;
use tokio_postgres::types::ToSql;

use super::failed;
use super::names::{CatalogName, CatalogPart};
use crate::error::{BoxError, Error, Result};
use crate::limits::{ANSWER_TIMEOUT, CATALOG_TABLES_MAX};

/// How long another writer of a SQLite file is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

const NAMES: &str = "SELECT DISTINCT catalog_name FROM iceberg_tables \
     UNION SELECT DISTINCT catalog_name FROM iceberg_namespace_properties";
const TABLES: &str =
    "SELECT table_namespace, table_name FROM iceberg_tables WHERE catalog_name = $1";
const LOAD: &str = "SELECT metadata_location FROM iceberg_tables \
     WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3";
const NAMESPACE: &str = "SELECT namespace FROM iceberg_namespace_properties \
     WHERE catalog_name = $1 AND namespace = $2 \
     UNION SELECT table_namespace FROM iceberg_tables \
     WHERE catalog_name = $1 AND table_namespace = $2";
const ADD_NAMESPACE: &str = "INSERT INTO iceberg_namespace_properties \
     (catalog_name, namespace, property_key, property_value) VALUES ($1, $2, 'exists', 'true')";
const ADD: &str = "INSERT INTO iceberg_tables \
     (catalog_name, table_namespace, table_name, metadata_location) VALUES ($1, $2, $3, $4)";
const REPLACE: &str = "UPDATE iceberg_tables \
     SET metadata_location = $4, previous_metadata_location = $5 \
     WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3 AND metadata_location = $5";
/// Catalogs that hold views, too, tell them apart by a column that older ones do not have.
const NOT_VIEWS: &str = " AND (iceberg_type = 'TABLE' OR iceberg_type IS NULL)";

pub(super) struct Sql {
    database: Database,
    name: Option<String>,
}

enum Database {
    Sqlite(PathBuf),
    Postgres {
        runtime: Handle,
        config: Box<tokio_postgres::Config>,
    },
}

type Rows = Vec<Vec<Option<String>>>;

impl Sql {
    pub(super) fn new(runtime: Handle, place: &str, name: Option<String>) -> Result<Self> {
        let refuse = |reason| Error::Location {
            location: place.split(':').next().unwrap_or_default().to_owned(),
            reason,
        };
        let database = if let Some(path) = place.strip_prefix("sqlite:") {
            // As SQLAlchemy writes it: three slashes, or four before an absolute path.
            let path = path.strip_prefix("///").unwrap_or(path);
            match path {
                "" => return Err(refuse("no path of a SQLite file")),
                path => Database::Sqlite(path.into()),
            }
        } else if place.starts_with("postgres:") || place.starts_with("postgresql:") {
            let config = place.parse();
            Database::Postgres {
                runtime,
                config: Box::new(config.map_err(|_| refuse("not a URL of a Postgres database"))?),
            }
        } else {
            return Err(refuse("not a known kind of catalog"));
        };
        Ok(Self { database, name })
    }

    pub(super) fn shown(&self) -> String {
        match &self.database {
            Database::Sqlite(path) => format!("sqlite:{}", path.display()),
            Database::Postgres { config, .. } => {
                format!("postgres://{}", config.get_dbname().unwrap_or_default())
            }
        }
    }

    pub(super) fn tables(&self, part: &CatalogPart) -> Result<Vec<CatalogName>> {
        let catalog = self.catalog()?;
        let asked = format!("{TABLES}{NOT_VIEWS}");
        let rows = match self.run(&asked, &[&catalog]) {
            Err(Failure::NoColumn) => self.run(TABLES, &[&catalog]),
            rows => rows,
        };
        let rows = rows.map_err(|failure| self.failed("list", failure))?;
        if rows.len() > CATALOG_TABLES_MAX {
            return Err(Error::malformed(self.shown(), "it has too many tables"));
        }
        let mut names = Vec::new();
        for row in rows {
            let [Some(namespace), Some(name)] = row.as_slice() else {
                return Err(Error::malformed(self.shown(), "a table has no name"));
            };
            let namespace = namespace.split('.').map(str::to_owned).collect();
            let name = CatalogName::new(namespace, name.clone())?;
            if part.holds(&name) {
                names.push(name);
            }
        }
        Ok(names)
    }

    pub(super) fn load(&self, name: &CatalogName) -> Result<Option<String>> {
        let catalog = self.catalog()?;
        let namespace = name.namespace.join(".");
        let rows = self.run(LOAD, &[&catalog, &namespace, &name.name]);
        let mut rows = rows.map_err(|failure| self.failed("load", failure))?;
        Ok(rows.pop().and_then(|mut row| row.pop().flatten()))
    }

    pub(super) fn make_namespace(&self, name: &CatalogName) -> Result<()> {
        let failed = |failure| self.failed("make a namespace at", failure);
        let catalog = self.catalog()?;
        let namespace = name.namespace.join(".");
        let known = self.run(NAMESPACE, &[&catalog, &namespace]);
        if known.map_err(failed)?.is_empty() {
            let added = self.run(ADD_NAMESPACE, &[&catalog, &namespace]);
            added.map_err(failed)?;
        }
        Ok(())
    }

    pub(super) fn point(
        &self,
        name: &CatalogName,
        metadata: &str,
        before: Option<&str>,
    ) -> Result<()> {
        let failed = |failure| self.failed("register a table at", failure);
        let catalog = self.catalog()?;
        let namespace = name.namespace.join(".");
        let own = [catalog.as_str(), &namespace, &name.name, metadata];
        match before {
            None => self.run(ADD, &own).map_err(failed)?,
            // Only what is still as it was is replaced; who registers sees whether it was.
            Some(before) => {
                let arguments = [own[0], own[1], own[2], own[3], before];
                self.run(REPLACE, &arguments).map_err(failed)?
            }
        };
        Ok(())
    }

    /// The name that this catalog has in its database, where several may be.
    fn catalog(&self) -> Result<String> {
        if let Some(name) = &self.name {
            return Ok(name.clone());
        }
        let rows = self.run(NAMES, &[]);
        let rows = rows.map_err(|failure| self.failed("read", failure))?;
        let mut names: Vec<String> = rows.into_iter().flatten().flatten().collect();
        match (names.pop(), names.is_empty()) {
            (Some(name), true) => Ok(name),
            (None, _) => Err(self.unnamed("it is empty, so its name must be given")),
            (Some(last), false) => {
                names.push(last);
                Err(self.unnamed(&format!("it holds the catalogs {}", names.join(", "))))
            }
        }
    }

    fn unnamed(&self, why: &str) -> Error {
        let reason = format!("{why}: choose one with the option name");
        Error::malformed(self.shown(), reason)
    }

    fn failed(&self, operation: &'static str, failure: Failure) -> Error {
        let source = match failure {
            Failure::NoColumn => "a column is missing".into(),
            Failure::Other(source) => source,
        };
        failed(operation, self.shown(), source)
    }

    fn run(&self, query: &str, arguments: &[&str]) -> Result<Rows, Failure> {
        match &self.database {
            Database::Sqlite(path) => {
                let found = sqlite(path, query, arguments);
                found.map_err(|error| Failure::of(error.into(), &["no such column"]))
            }
            Database::Postgres { runtime, config } => {
                let asked = async {
                    let asked = postgres(config, query, arguments);
                    match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
                        Ok(rows) => rows.map_err(|error| {
                            let code = error.code().map_or("", |code| code.code());
                            let missing = code == "42703";
                            match missing {
                                true => Failure::NoColumn,
                                false => Failure::Other(error.into()),
                            }
                        }),
                        Err(_) => Err(Failure::Other("the database does not answer".into())),
                    }
                };
                runtime.block_on(asked)
            }
        }
    }
}

/// Why a query failed.
enum Failure {
    /// The catalog is of an older layout.
    NoColumn,
    Other(BoxError),
}

impl Failure {
    fn of(source: BoxError, missing: &[&str]) -> Self {
        let text = source.to_string();
        match missing.iter().any(|sign| text.contains(sign)) {
            true => Self::NoColumn,
            false => Self::Other(source),
        }
    }
}

fn sqlite(path: &PathBuf, query: &str, arguments: &[&str]) -> rusqlite::Result<Rows> {
    // A mistyped path must not become an empty catalog.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let mut statement = connection.prepare(&query.replace('$', "?"))?;
    let columns = statement.column_count();
    let mut rows = statement.query(rusqlite::params_from_iter(arguments))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let values = (0..columns).map(|column| row.get(column));
        found.push(values.collect::<rusqlite::Result<Vec<_>>>()?);
    }
    Ok(found)
}

async fn postgres(
    config: &tokio_postgres::Config,
    query: &str,
    arguments: &[&str],
) -> Result<Rows, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    // It ends with the client; what goes wrong, the query says.
    let connection = tokio::spawn(connection);
    let arguments: Vec<&(dyn ToSql + Sync)> = arguments
        .iter()
        .map(|argument| argument as &(dyn ToSql + Sync))
        .collect();
    let rows = client.query(query, &arguments).await;
    drop(client);
    drop(connection.await);
    let values = |row: &tokio_postgres::Row| (0..row.len()).map(|at| row.try_get(at)).collect();
    rows?.iter().map(values).collect()
}

#[cfg(test)]
mod tests;
