//! The columns of a table, by the schema in its log.

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::location::Location;

#[derive(Deserialize)]
struct Schema {
    fields: Vec<Field>,
}

#[derive(Deserialize)]
struct Field {
    name: String,
    #[serde(rename = "type")]
    kind: Value,
}

/// Names of the columns, and their types: a word, or JSON when they are nested.
pub(crate) fn columns(table: &Location, schema: &str) -> Result<Vec<(String, String)>> {
    let schema: Schema = serde_json::from_str(schema)
        .map_err(|error| Error::undecodable(table, "its schema is not one", error))?;
    let columns = schema.fields.into_iter().map(|field| {
        let kind = match field.kind {
            Value::String(word) => word,
            nested => nested.to_string(),
        };
        (field.name, kind)
    });
    Ok(columns.collect())
}
