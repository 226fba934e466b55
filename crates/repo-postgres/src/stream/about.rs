//! What a server says about itself over the replication protocol.

use tokio_postgres::Config;

use crate::stream::client::{Client, Mode, Row};
use crate::stream::error::{Error, Result};

/// First version that can send changes only.
const CHANGES_SINCE: u32 = 170_000;

/// A server that sends backups.
#[derive(Debug, Clone)]
pub(super) struct About {
    pub(super) system: String,
    pub(super) version: u32,
    pub(super) standby: bool,
    pub(super) checksums: bool,
    pub(super) block_size: u32,
    pub(super) segment_blocks: u32,
    pub(super) wal_segment_size: u32,
    pub(super) pgdata: String,
    /// It keeps summaries of the log, by which it knows what changed since an earlier backup.
    pub(super) summaries: bool,
}

impl About {
    /// Opens a session for a backup.
    pub(super) fn ask(config: &Config, user: &str) -> Result<(Client, Self)> {
        let mut client = Client::connect(config, user, Mode::Replication)?;
        let version = client.version()?;
        let doing = "say what it is";
        let identity = client.query(doing, "IDENTIFY_SYSTEM")?;
        let system = cell(&identity, 0, 0).ok_or_else(unclear)?;
        let mut show = |name: &str| -> Result<String> {
            let rows = client.query(doing, &format!("SHOW {name}"))?;
            cell(&rows, 0, 0).ok_or_else(unclear)
        };
        let block_size = size(&show("block_size")?)?;
        let segment = size(&show("segment_size")?)?;
        let about = Self {
            version,
            // Before 14 there is no such setting; the label of the backup says it, too.
            standby: version >= 140_000 && show("in_hot_standby")? == "on",
            checksums: show("data_checksums")? == "on",
            block_size,
            segment_blocks: segment / block_size.max(1),
            wal_segment_size: size(&show("wal_segment_size")?)?,
            pgdata: match show("data_directory") {
                Ok(pgdata) => pgdata,
                // Only some users may know.
                Err(Error::Refused { .. }) => format!("/postgres/{system}/data"),
                Err(error) => return Err(error),
            },
            summaries: version >= CHANGES_SINCE && show("summarize_wal")? == "on",
            system,
        };
        Ok((client, about))
    }
}

/// A length as settings show it, as in `16MB`.
fn size(text: &str) -> Result<u32> {
    let split = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(split.unwrap_or(text.len()));
    let shift = match unit {
        "" | "B" => 0,
        "kB" => 10,
        "MB" => 20,
        "GB" => 30,
        _ => return Err(unclear()),
    };
    let number: Option<u32> = number.parse().ok();
    let size = number.and_then(|number| number.checked_mul(1 << shift));
    size.ok_or_else(unclear)
}

/// A value of an answer.
pub(super) fn cell(rows: &[Row], row: usize, column: usize) -> Option<String> {
    rows.get(row)?.get(column)?.clone()
}

pub(super) fn unclear() -> Error {
    Error::Answer { what: "a backup" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_as_settings_show_them() {
        for (text, bytes) in [
            ("8192", Some(8192)),
            ("16MB", Some(16 << 20)),
            ("1GB", Some(1 << 30)),
            ("64kB", Some(64 << 10)),
            ("4GB", None),
            ("MB", None),
            ("1 GB", None),
        ] {
            assert_eq!(size(text).ok(), bytes, "{text}");
        }
    }
}
