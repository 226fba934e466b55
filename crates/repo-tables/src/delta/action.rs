//! The actions of a log, as far as they say which files there are and what a reader must know.

use serde::Deserialize;

/// One line of a commit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    Add(Add),
    Remove(Remove),
    Metadata(Metadata),
    Protocol(Protocol),
    Change(Change),
    Sidecar(Sidecar),
    CommitInfo(CommitInfo),
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Add {
    pub(crate) path: String,
    pub(crate) size: Option<i64>,
    /// JSON in a string.
    pub(crate) stats: Option<String>,
    pub(crate) deletion_vector: Option<Vector>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Remove {
    pub(crate) path: String,
    pub(crate) deletion_vector: Option<Vector>,
}

/// Which rows of a file are deleted.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Vector {
    pub(crate) storage_type: String,
    pub(crate) path_or_inline_dv: String,
    pub(crate) offset: Option<i64>,
    pub(crate) cardinality: Option<i64>,
}

impl Vector {
    /// With the path it tells one logical file from another.
    pub(crate) fn id(&self) -> String {
        let offset = self.offset.map_or(String::new(), |at| format!("@{at}"));
        format!("{}{}{offset}", self.storage_type, self.path_or_inline_dv)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metadata {
    pub(crate) id: String,
    pub(crate) name: Option<String>,
    /// JSON in a string.
    #[serde(rename = "schemaString")]
    pub(crate) schema: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Protocol {
    #[serde(rename = "minReaderVersion")]
    pub(crate) reader_version: i64,
    #[serde(default, deserialize_with = "or_none")]
    pub(crate) reader_features: Vec<String>,
    #[serde(default, deserialize_with = "or_none")]
    pub(crate) writer_features: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(crate) struct Change {
    pub(crate) path: String,
    pub(crate) size: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sidecar {
    pub(crate) path: String,
    pub(crate) size_in_bytes: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CommitInfo {
    pub(crate) in_commit_timestamp: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    add: Option<Add>,
    remove: Option<Remove>,
    meta_data: Option<Metadata>,
    protocol: Option<Protocol>,
    cdc: Option<Change>,
    sidecar: Option<Sidecar>,
    commit_info: Option<CommitInfo>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statistics {
    num_records: Option<u64>,
}

fn or_none<'de, D>(deserializer: D) -> Result<Vec<String>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Decodes a line. `None` is an action that does not say which files there are.
pub(crate) fn decode(line: &[u8]) -> serde_json::Result<Option<Action>> {
    let line: Line = serde_json::from_slice(line)?;
    Ok(line
        .add
        .map(Action::Add)
        .or(line.remove.map(Action::Remove))
        .or(line.meta_data.map(Action::Metadata))
        .or(line.protocol.map(Action::Protocol))
        .or(line.cdc.map(Action::Change))
        .or(line.sidecar.map(Action::Sidecar))
        .or(line.commit_info.map(Action::CommitInfo)))
}

/// The rows that statistics tell of.
pub(crate) fn rows(stats: &str) -> Option<u64> {
    serde_json::from_str::<Statistics>(stats).ok()?.num_records
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_decoded_by_what_they_hold() {
        let add =
            br#"{"add":{"path":"p=1/f","partitionValues":{"p":"1"},"size":5,"dataChange":true,
            "modificationTime":1,"stats":"{\"numRecords\":3,\"x\":[]}","tags":null}}"#;
        let Some(Action::Add(add)) = decode(add).expect("an action") else {
            panic!("not an add");
        };
        assert_eq!((add.path.as_str(), add.size), ("p=1/f", Some(5)));
        assert_eq!(add.stats.as_deref().and_then(rows), Some(3));
        let other = decode(br#"{"txn":{"appId":"a","version":1}}"#);
        assert_eq!(other.expect("an action"), None);
        let protocol = decode(br#"{"protocol":{"minReaderVersion":1,"readerFeatures":null}}"#);
        assert!(matches!(protocol, Ok(Some(Action::Protocol(_)))));
        assert!(decode(br#"{"add":{"size":5}}"#).is_err());
        assert!(decode(b"{").is_err());
        assert_eq!(rows("{}"), None);
        assert_eq!(rows("nonsense"), None);
    }
}
