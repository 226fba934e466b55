//! A version of a table that has one snapshot only, so that a table can be kept as it was at a tag or a time
//! without what else its metadata retains.

use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::{RawValue, to_raw_value};

use super::metadata::{Metadata, Snapshot};
use super::{Error, Result};

/// Members of an object as they are written, in their order.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct OfSnapshot {
    snapshot_id: i64,
}

/// The text of metadata in which a snapshot of the table is the current one and the only one: branches, tags,
/// logs and statistics of others are gone, everything else is as it was.
pub fn pin(metadata: &Metadata, snapshot: &Snapshot) -> Result<Vec<u8>> {
    let place = metadata.place();
    let malformed = |error: serde_json::Error| Error::malformed(place, error.to_string());
    let Members(mut members) = serde_json::from_slice(metadata.text()).map_err(malformed)?;
    let id = snapshot.snapshot_id;
    for (name, value) in &mut members {
        *value = match name.as_str() {
            "current-snapshot-id" => to_raw_value(&id),
            "snapshots" | "statistics" | "partition-statistics" => of_snapshot(value, id),
            "refs" => to_raw_value(&serde_json::json!({
                "main": {"snapshot-id": id, "type": "branch"},
            })),
            "snapshot-log" => to_raw_value(&serde_json::json!([
                {"timestamp-ms": snapshot.timestamp_ms, "snapshot-id": id},
            ])),
            "metadata-log" => to_raw_value::<[(); 0]>(&[]),
            _ => continue,
        }
        .map_err(malformed)?;
    }
    let mut out = b"{".to_vec();
    for (place, (name, value)) in members.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        out.extend(serde_json::to_vec(name).map_err(malformed)?);
        out.push(b':');
        out.extend_from_slice(value.get().as_bytes());
    }
    out.push(b'}');
    Ok(out)
}

/// The items of a list that belong to a snapshot.
fn of_snapshot(list: &RawValue, id: i64) -> Result<Box<RawValue>, serde_json::Error> {
    let items: Option<Vec<Box<RawValue>>> = serde_json::from_str(list.get())?;
    let mut kept = Vec::new();
    for item in items.unwrap_or_default() {
        let of: OfSnapshot = serde_json::from_str(item.get())?;
        if of.snapshot_id == id {
            kept.push(item);
        }
    }
    to_raw_value(&kept)
}
