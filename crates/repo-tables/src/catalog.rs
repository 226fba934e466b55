//! Catalogs of Iceberg tables: which tables there are, where the current metadata of each is, and that a
//! restored table is one of them.
//!
//! A catalog is named by text: `rest:URL` for the REST protocol, `sqlite:PATH` and `postgres://...` for the
//! tables that the SQL catalogs of Java and Python share. A directory of Hadoop tables needs none of this: it
//! is a warehouse, which is searched. `#namespace` or `#namespace.table` behind the text means a part.
//! Calls block, like those of [`crate::Lake`].

mod http;
mod names;
mod register;
mod rest;
mod script;
mod sql;

pub use names::{CatalogName, CatalogPart};
pub use register::{Registered, prepare, register};
pub use script::{ScriptKind, script};

use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;

use crate::discover::{Found, check_name};
use crate::error::{Error, Result};
use crate::iceberg::engine::directory_of;
use crate::location::Location;
use crate::table::Format;

/// A catalog. Clones share its connection.
#[derive(Clone)]
pub struct Catalog {
    /// What it is called in messages: without secrets.
    shown: String,
    kind: Arc<Kind>,
}

enum Kind {
    Rest(Box<rest::Rest>),
    Sql(sql::Sql),
}

impl Catalog {
    /// Reads the name of a catalog, such as `rest:https://host/path#sales`, and of the part that is meant.
    /// Makes no request. Options are `token`, `credential`, `scope`, `oauth2-server-uri`, `warehouse` and
    /// `prefix` of REST catalogs, and `name` of SQL catalogs; secrets belong there and not into the text.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn open(text: &str, options: &[(String, String)]) -> Result<(Self, CatalogPart)> {
        let (place, part) = text.split_once('#').unwrap_or((text, ""));
        let part = CatalogPart::parse(part)?;
        let runtime = Handle::current();
        let option = |name: &str| {
            let found = options.iter().rev().find(|(key, _)| key == name);
            found.map(|(_, value)| value.clone())
        };
        let (shown, kind) = if let Some(url) = place.strip_prefix("rest:") {
            let rest = rest::Rest::new(runtime, url, &option)?;
            (format!("rest:{}", rest.shown()), Kind::Rest(Box::new(rest)))
        } else {
            let sql = sql::Sql::new(runtime, place, option("name"))?;
            (sql.shown(), Kind::Sql(sql))
        };
        let kind = Arc::new(kind);
        Ok((Self { shown, kind }, part))
    }

    /// Whether text that a user gave as a place names a catalog.
    #[must_use]
    pub fn is_named_by(text: &str) -> bool {
        ["rest:", "sqlite:", "postgres:", "postgresql:"]
            .iter()
            .any(|scheme| text.starts_with(scheme))
    }

    /// The tables of a part, by name. One request for each namespace, or for each page of one.
    pub fn tables(&self, part: &CatalogPart) -> Result<Vec<CatalogName>> {
        let mut names = match self.kind.as_ref() {
            Kind::Rest(rest) => rest.tables(part)?,
            Kind::Sql(sql) => sql.tables(part)?,
        };
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// Where the current metadata of a table is; none when there is no such table.
    pub fn load(&self, name: &CatalogName) -> Result<Option<String>> {
        Ok(self.pointer(name)?.map(|found| found.metadata_location))
    }

    fn pointer(&self, name: &CatalogName) -> Result<Option<Pointer>> {
        match self.kind.as_ref() {
            Kind::Rest(rest) => rest.load(name),
            Kind::Sql(sql) => {
                let loaded = sql.load(name)?;
                Ok(loaded.map(|metadata_location| Pointer {
                    metadata_location,
                    told: None,
                }))
            }
        }
    }

    /// Makes the namespace of a table when it is missing.
    fn make_namespace(&self, name: &CatalogName) -> Result<()> {
        match self.kind.as_ref() {
            Kind::Rest(rest) => rest.make_namespace(&name.namespace),
            Kind::Sql(sql) => sql.make_namespace(name),
        }
    }

    /// Makes a name lead to metadata, in place of the metadata `before` that it leads to now, if any.
    fn point(&self, name: &CatalogName, metadata: &str, before: Option<&str>) -> Result<()> {
        match self.kind.as_ref() {
            Kind::Rest(rest) => rest.point(name, metadata, before.is_some()),
            Kind::Sql(sql) => sql.point(name, metadata, before),
        }
    }
}

impl std::fmt::Display for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown)
    }
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Catalog({})", self.shown)
    }
}

/// What a catalog says of a table.
struct Pointer {
    metadata_location: String,
    /// The metadata itself, where the catalog tells it; readers take this and do not read the file.
    told: Option<Bytes>,
}

/// A part of a catalog that is to be saved.
#[derive(Debug, Clone)]
pub struct CatalogSource {
    /// The catalog.
    pub catalog: Catalog,
    /// Which of its tables.
    pub part: CatalogPart,
}

impl std::fmt::Display for CatalogSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.part.is_all() {
            true => write!(f, "{}", self.catalog),
            false => write!(f, "{}#{}", self.catalog, self.part),
        }
    }
}

/// Adds the tables of catalogs to those that were found otherwise; each has a name of its own.
pub(crate) fn discover(sources: &[CatalogSource], found: &mut Vec<Found>) -> Result<()> {
    for (number, source) in sources.iter().enumerate() {
        let names = source.catalog.tables(&source.part)?;
        if names.is_empty() {
            return Err(Error::NoTable {
                url: source.to_string(),
            });
        }
        for name in names {
            let Some(metadata) = source.catalog.load(&name)? else {
                // It was dropped meanwhile.
                continue;
            };
            let metadata = Location::parse(&metadata)?;
            let table = Found {
                name: name.to_string(),
                path: name.path(),
                location: directory_of(&directory_of(&metadata)?)?,
                format: Format::Iceberg,
                catalog: Some((number, name)),
            };
            check_name(&table.name)?;
            if let Some(other) = found.iter().find(|other| other.name == table.name) {
                return Err(Error::SameName {
                    first: other.location.to_string(),
                    second: table.location.to_string(),
                    name: table.name,
                });
            }
            found.push(table);
        }
    }
    Ok(())
}

/// A failed request to a catalog.
fn failed(
    operation: &'static str,
    what: impl ToString,
    source: impl Into<crate::error::BoxError>,
) -> Error {
    Error::Object {
        operation,
        url: what.to_string(),
        source: source.into(),
    }
}
