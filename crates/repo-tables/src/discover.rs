//! Finds tables: at a place, or below it as in a warehouse.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::catalog::CatalogName;
use crate::delta::{LOG, LogName, log_name};
use crate::error::{Error, Result};
use crate::lake::Lake;
use crate::limits::{DISCOVERY_DEPTH_MAX, DISCOVERY_DIRECTORIES_MAX};
use crate::location::Location;
use crate::table::Format;

/// Longest name of a table in a snapshot, in bytes.
const NAME_MAX: usize = 255;

/// A place that was asked for: a table, or a warehouse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Name for the table there; a warehouse cannot have one.
    pub name: Option<String>,
    /// The place.
    pub place: Location,
}

/// A table that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Name in the snapshot: the directories from the warehouse to the table, joined by dots.
    pub name: String,
    /// The same directories, joined by slashes.
    pub path: String,
    /// Where it is.
    pub location: Location,
    /// Its format.
    pub format: Format,
    /// The catalog that knows it, by number, and its name there.
    pub catalog: Option<(usize, CatalogName)>,
}

/// The tables of all sources, each with a name of its own, by name.
///
/// A place that holds a table is that table, and nothing below it is looked at. One listing a directory.
pub fn discover(lake: &Lake, sources: &[Source]) -> Result<Vec<Found>> {
    let mut tables: BTreeMap<String, Found> = BTreeMap::new();
    for source in sources {
        let mut found = Vec::new();
        match format(lake, &source.place)?.0 {
            Some(format) => found.push(Found {
                name: source.place.name().to_owned(),
                path: source.place.name().to_owned(),
                location: source.place.clone(),
                format,
                catalog: None,
            }),
            None => below(lake, &source.place, &mut found)?,
        }
        if found.is_empty() {
            return Err(Error::NoTable {
                url: source.place.to_string(),
            });
        }
        if let Some(name) = &source.name {
            let [table] = found.as_mut_slice() else {
                return Err(Error::NoTable {
                    url: source.place.to_string(),
                });
            };
            table.name.clone_from(name);
            table.path.clone_from(name);
        }
        for table in found {
            check_name(&table.name)?;
            match tables.get(&table.name) {
                Some(other) if other.location == table.location => {}
                Some(other) => {
                    return Err(Error::SameName {
                        name: table.name,
                        first: other.location.to_string(),
                        second: table.location.to_string(),
                    });
                }
                None => {
                    tables.insert(table.name.clone(), table);
                }
            }
        }
    }
    Ok(tables.into_values().collect())
}

/// Refuses a name that is not one directory of a snapshot.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let reason = match name {
        "" | "." | ".." => "not a name of a table",
        name if name.contains(['/', '\0']) => "not a name of a table",
        name if name.len() > NAME_MAX => "too long for a name",
        _ => return Ok(()),
    };
    Err(Error::Location {
        location: name.to_owned(),
        reason,
    })
}

fn below(lake: &Lake, root: &Location, found: &mut Vec<Found>) -> Result<()> {
    let mut queue = vec![(root.clone(), 0)];
    let mut seen = 0;
    while let Some((place, depth)) = queue.pop() {
        seen += 1;
        if seen > DISCOVERY_DIRECTORIES_MAX {
            return Err(Error::malformed(
                root,
                "it has too many directories to search for tables",
            ));
        }
        let (format, directories) = listed_format(lake, &place)?;
        if let Some(format) = format {
            let path = root.relative(&place).unwrap_or_default().to_owned();
            found.push(Found {
                name: path.replace('/', "."),
                path,
                location: place,
                format,
                catalog: None,
            });
        } else if depth < DISCOVERY_DEPTH_MAX {
            let inside = directories.into_iter().filter(|directory| {
                // What begins like this is hidden, or belongs to some table.
                !directory.name().starts_with(['.', '_'])
            });
            queue.extend(inside.map(|directory| (directory, depth + 1)));
        }
    }
    Ok(())
}

/// What kind of table is at a place, if any, and the directories below. A place that was named is most
/// often a table, whose own listing is long and tells nothing; its log is looked for first.
pub(crate) fn format(lake: &Lake, place: &Location) -> Result<(Option<Format>, Vec<Location>)> {
    match has_log(lake, place)? {
        true => Ok((Some(Format::Delta), Vec::new())),
        false => listed_format(lake, place),
    }
}

/// The same by listing the place.
fn listed_format(lake: &Lake, place: &Location) -> Result<(Option<Format>, Vec<Location>)> {
    let (directories, _) = lake.children(place)?;
    let has = |name: &str| directories.iter().any(|directory| directory.name() == name);
    if has(LOG) && has_log(lake, place)? {
        return Ok((Some(Format::Delta), directories));
    }
    if has("metadata") {
        let (_, files) = lake.children(&place.join("metadata")?)?;
        let metadata = |name: &str| {
            name.ends_with(".metadata.json")
                || name.ends_with(".metadata.json.gz")
                || name.ends_with(".gz.metadata.json")
        };
        if files.iter().any(|file| metadata(file.location.name())) {
            return Ok((Some(Format::Iceberg), directories));
        }
    }
    Ok((None, directories))
}

/// Whether a log is at a place: one request, for its first names.
fn has_log(lake: &Lake, place: &Location) -> Result<bool> {
    let directory = place.join(LOG)?;
    let mut found = false;
    lake.list(&directory, None, |object| {
        let name = directory.relative(&object.location).unwrap_or_default();
        found = matches!(
            log_name(name),
            LogName::Commit(_) | LogName::Classic(_) | LogName::Part { .. } | LogName::Named(_)
        );
        match found {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })?;
    Ok(found)
}
