//! Which file is which table: the catalog of every database, as it was at the time of a snapshot.

use std::collections::HashMap;
use std::io::BufRead;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use futures::TryStreamExt;
use repo_core::SnapshotView;
use serde::{Deserialize, Serialize};

use crate::description::{Description, RELATIONS_PATH};
use crate::error::{Error, Result};
use crate::files::RelationFile;
use crate::limits::RELATIONS_MAX;
use crate::server::{Connection, get};

/// A relation of a database: a table, an index, a sequence or the like that has files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relation {
    /// The database; absent for what all databases share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// `r` table, `i` index, `S` sequence, `t` TOAST table, `m` materialized view.
    pub kind: String,
    /// `p` permanent, `u` unlogged, `t` temporary.
    pub persistence: String,
    /// Its first file, relative to the data directory.
    pub path: String,
}

impl Relation {
    /// Database, schema and name, joined by dots.
    #[must_use]
    pub fn full_name(&self) -> String {
        match &self.database {
            Some(database) => format!("{database}.{}.{}", self.schema, self.name),
            None => format!("{}.{}", self.schema, self.name),
        }
    }
}

/// The catalog as lines of JSON, and what of it could not be read.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    pub(crate) lines: Vec<u8>,
    /// A database, and why its relations are missing.
    pub(crate) missing: Vec<(String, String)>,
}

/// Reads the catalogs of the given databases. Takes no locks on relations.
pub(crate) async fn read(connection: &Connection, databases: &[String]) -> Result<Catalog> {
    let mut catalog = Catalog::default();
    for (at, database) in databases.iter().enumerate() {
        match one(connection, database, at == 0, &mut catalog.lines).await {
            Ok(true) => {}
            Ok(false) => {
                let why = "the list of relations is full".to_owned();
                catalog.missing.push((database.clone(), why));
                break;
            }
            Err(error) => catalog.missing.push((database.clone(), chain(&error))),
        }
    }
    Ok(catalog)
}

/// Appends the relations of one database, and with `shared` those of all. Says whether they fit.
async fn one(
    connection: &Connection,
    database: &str,
    shared: bool,
    lines: &mut Vec<u8>,
) -> Result<bool> {
    let doing = "list its relations";
    let client = connection.open(Some(database)).await?;
    let sql = "select n.nspname::text, c.relname::text, c.relkind::text, c.relpersistence::text, \
               pg_relation_filepath(c.oid), c.relisshared \
               from pg_class c join pg_namespace n on n.oid = c.relnamespace \
               where c.relkind in ('r', 'i', 'S', 't', 'm') order by 5";
    let no_parameters: [&str; 0] = [];
    let rows = client
        .query_raw(sql, no_parameters)
        .await
        .map_err(|source| Error::server(doing, source))?;
    let mut rows = std::pin::pin!(rows);
    while let Some(row) = rows
        .try_next()
        .await
        .map_err(|source| Error::server(doing, source))?
    {
        let path: Option<String> = get(&row, 4, "relations")?;
        let is_shared: bool = get(&row, 5, "relations")?;
        let Some(path) = path.filter(|_| !is_shared || shared) else {
            continue;
        };
        let relation = Relation {
            database: (!is_shared).then(|| database.to_owned()),
            schema: get(&row, 0, "relations")?,
            name: get(&row, 1, "relations")?,
            kind: get(&row, 2, "relations")?,
            persistence: get(&row, 3, "relations")?,
            path,
        };
        if relation.persistence == "t" {
            continue;
        }
        let line = serde_json::to_vec(&relation)
            .map_err(|error| Error::answer("relations", error.to_string()))?;
        if lines.len() + line.len() + 1 > RELATIONS_MAX {
            return Ok(false);
        }
        lines.extend_from_slice(&line);
        lines.push(b'\n');
    }
    Ok(true)
}

/// The relations in lines of JSON.
pub(crate) fn parse(lines: &[u8]) -> impl Iterator<Item = Result<Relation>> {
    lines.lines().map(|line| {
        let line = line.map_err(|error| bad(error.to_string()))?;
        serde_json::from_str(&line).map_err(|error| bad(error.to_string()))
    })
}

fn bad(why: String) -> Error {
    Error::Description {
        path: RELATIONS_PATH,
        why,
    }
}

/// The path of the first file of the relation that the file at `path` belongs to.
pub(crate) fn first_file(path: &str) -> Option<String> {
    let (directory, name) = path.rsplit_once('/')?;
    let file = RelationFile::parse(name.as_bytes())?;
    Some(format!("{directory}/{}", file.filenode))
}

/// A relation with the bytes that a snapshot holds of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SizedRelation {
    /// The relation.
    pub relation: Relation,
    /// All its files, free space and visibility among them, in bytes.
    pub bytes: u64,
}

/// The relations of a snapshot in the order of their paths, with the sizes of their files.
///
/// Memory grows with the number of relations, about 300 bytes each.
pub async fn relations(view: &SnapshotView) -> Result<Vec<SizedRelation>> {
    // Also tells whether it is a snapshot of a cluster at all.
    Description::of(view).await?;
    let entry = view.entry(RELATIONS_PATH.as_bytes()).await?;
    if entry.size > RELATIONS_MAX as u64 {
        return Err(bad("it is too long".to_owned()));
    }
    let lines = view.read(&entry, 0..entry.size).await?;
    let mut found = Vec::new();
    for relation in parse(&lines) {
        found.push(SizedRelation {
            relation: relation?,
            bytes: 0,
        });
    }
    let sizes = sizes(view).await?;
    for sized in &mut found {
        sized.bytes = sizes.get(&sized.relation.path).copied().unwrap_or(0);
    }
    Ok(found)
}

/// Bytes of each relation, by the path of its first file.
async fn sizes(view: &SnapshotView) -> Result<HashMap<String, u64>> {
    let sizes = Arc::new(Mutex::new(HashMap::new()));
    for top in ["base", "global", "pg_tblspc"] {
        let shared = Arc::clone(&sizes);
        let visit = move |path: &[u8], entry: &repo_core::Entry| {
            let path = format!("{top}/{}", String::from_utf8_lossy(path));
            if let Some(first) = first_file(&path) {
                let mut sizes = shared.lock().unwrap_or_else(PoisonError::into_inner);
                *sizes.entry(first).or_insert(0) += entry.size;
            }
            ControlFlow::Continue(())
        };
        view.walk(top.as_bytes(), true, Box::new(visit)).await?;
    }
    let sizes = std::mem::take(&mut *sizes.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(sizes)
}

/// An error and its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_relation_lead_to_its_first() {
        for (path, first) in [
            ("base/5/16384", Some("base/5/16384")),
            ("base/5/16384.3", Some("base/5/16384")),
            ("base/5/16384_fsm", Some("base/5/16384")),
            (
                "pg_tblspc/1/PG_15_2/5/7_init",
                Some("pg_tblspc/1/PG_15_2/5/7"),
            ),
            ("base/5/PG_VERSION", None),
            ("16384", None),
        ] {
            assert_eq!(first_file(path).as_deref(), first, "{path}");
        }
    }

    #[test]
    fn relations_are_named_as_in_sql() {
        let line = br#"{"database":"shop","schema":"public","name":"orders","kind":"r","persistence":"p","path":"base/5/1"}"#;
        let relation = parse(line).next().expect("a line").expect("a relation");
        assert_eq!(relation.full_name(), "shop.public.orders");
        assert!(parse(b"{}").next().expect("a line").is_err());
        assert_eq!(parse(b"").count(), 0);
    }
}
