//! Columns of a table, for people: names and types as the metadata writes them.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::metadata::Metadata;
use super::{Error, Result};

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Schemas<'a> {
    current_schema_id: Option<i64>,
    #[serde(borrow, default)]
    schemas: Option<Vec<Schema<'a>>>,
    /// All that old metadata of format 1 has.
    #[serde(borrow, default)]
    schema: Option<Schema<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Schema<'a> {
    schema_id: Option<i64>,
    #[serde(borrow)]
    fields: Vec<Field<'a>>,
}

#[derive(Deserialize)]
struct Field<'a> {
    name: String,
    #[serde(borrow, rename = "type")]
    kind: &'a RawValue,
}

/// The columns of the current schema, each with its type: a word, or the JSON of a nested one.
pub(crate) fn columns(metadata: &Metadata) -> Result<Vec<(String, String)>> {
    let schemas: Schemas<'_> = serde_json::from_slice(metadata.text())
        .map_err(|error| Error::malformed(metadata.place(), format!("its schema: {error}")))?;
    let current = schemas.current_schema_id;
    let listed = schemas.schemas.unwrap_or_default();
    let chosen = listed
        .into_iter()
        .find(|schema| schema.schema_id == current);
    let fields = chosen.or(schemas.schema).map(|schema| schema.fields);
    Ok(fields
        .unwrap_or_default()
        .into_iter()
        .map(|field| {
            let kind = field.kind.get();
            let word = serde_json::from_str::<String>(kind).ok();
            (field.name, word.unwrap_or_else(|| kind.to_owned()))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn are(text: &str, expected: &[(&str, &str)]) {
        let text = text.as_bytes().to_vec();
        let metadata = Metadata::parse("/t/v1.metadata.json", text.into()).expect("metadata");
        let found = columns(&metadata).expect("columns");
        let found: Vec<(&str, &str)> = found
            .iter()
            .map(|(n, k)| (n.as_str(), k.as_str()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_current_schema_is_shown() {
        are(
            r#"{"format-version":2,"current-schema-id":1,"schemas":[
                {"schema-id":0,"fields":[{"name":"a","type":"int"}]},
                {"schema-id":1,"fields":[{"name":"a","type":"long"},
                    {"name":"b","type":{"type":"list","element":"int"}}]}]}"#,
            &[("a", "long"), ("b", r#"{"type":"list","element":"int"}"#)],
        );
    }

    #[test]
    fn old_metadata_has_one() {
        are(
            r#"{"format-version":1,"schema":{"type":"struct","fields":[{"name":"a","type":"int"}]}}"#,
            &[("a", "int")],
        );
        are(r#"{"format-version":1}"#, &[]);
    }
}
