//! Registration in catalogs that this program does not speak to: a script that is ready to run.

use serde_json::json;

use super::names::CatalogName;
use crate::location::Location;

/// A catalog that a script registers tables in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScriptKind {
    /// AWS Glue, by its command line.
    Glue,
    /// A Hive metastore, by a statement for Hive.
    Hive,
}

impl ScriptKind {
    /// Reads the name of a kind.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "glue" => Some(Self::Glue),
            "hive" => Some(Self::Hive),
            _ => None,
        }
    }
}

/// A script that makes `name` lead to the metadata of a table at `location`.
#[must_use]
pub fn script(
    kind: ScriptKind,
    name: &CatalogName,
    location: &Location,
    metadata: &Location,
) -> String {
    let database = name.namespace.join("_");
    match kind {
        ScriptKind::Glue => {
            let input = json!({
                "Name": name.name,
                "TableType": "EXTERNAL_TABLE",
                "Parameters": {
                    "table_type": "ICEBERG",
                    "metadata_location": url(metadata),
                },
                "StorageDescriptor": {"Location": url(location)},
            });
            let shell = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
            let (database, input) = (shell(&database), shell(&input.to_string()));
            format!(
                "aws glue get-database --name {database} >/dev/null 2>&1 ||\n  \
                 aws glue create-database --database-input Name={database}\n\
                 aws glue create-table --database-name {database} --table-input {input}"
            )
        }
        ScriptKind::Hive => {
            let (database, table) = (quoted(&database), quoted(&name.name));
            let (location, metadata) = (literal(&url(location)), literal(&url(metadata)));
            format!(
                "CREATE DATABASE IF NOT EXISTS {database};\n\
                 CREATE EXTERNAL TABLE {database}.{table}\n\
                 STORED BY 'org.apache.iceberg.mr.hive.HiveIcebergStorageHandler'\n\
                 LOCATION {location}\n\
                 TBLPROPERTIES ('table_type'='ICEBERG', 'metadata_location'={metadata});"
            )
        }
    }
}

/// Engines on other machines read a plain path in their own way.
fn url(place: &Location) -> String {
    match place.local() {
        Some(_) => format!("file://{place}"),
        None => place.to_string(),
    }
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_for_their_readers() {
        let name = CatalogName::new(vec!["a".into()], "it's".into()).expect("a name");
        let place = Location::parse("s3://k/o'h").expect("a place");
        let metadata = place.join("metadata/v1.metadata.json").expect("a place");
        let glue = script(ScriptKind::Glue, &name, &place, &metadata);
        assert!(glue.contains(r#""Name":"it'\''s""#), "{glue}");
        assert!(
            glue.contains(r"s3://k/o'\''h/metadata/v1.metadata.json"),
            "{glue}"
        );
        let hive = script(ScriptKind::Hive, &name, &place, &metadata);
        assert!(hive.contains("`a`.`it's`"), "{hive}");
        assert!(hive.contains(r"LOCATION 's3://k/o\'h'"), "{hive}");
    }
}
