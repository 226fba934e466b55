//! `backup_manifest`, by which `pg_verifybackup` and later incremental backups of the server know
//! what a data directory must hold.
//!
//! JSON with one file a line and a last line with the SHA-256 of all before it. Version 1 is that of
//! servers 13 to 16; version 2 adds the system identifier. Files have CRC-32C, the server's default.

use std::io::{self, Write};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::lsn::Lsn;

/// The first server that writes version 2.
const VERSION_2: u32 = 170_000;

/// A file of the data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    /// Path relative to the data directory.
    pub(crate) path: Vec<u8>,
    pub(crate) size: u64,
    /// Time of last change, in seconds since 1970, UTC.
    pub(crate) mtime: i64,
    /// CRC-32C of the content.
    pub(crate) checksum: u32,
}

/// What of the log recovery needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WalRange {
    pub(crate) timeline: u32,
    pub(crate) start: Lsn,
    pub(crate) end: Lsn,
}

/// Writes a manifest, file by file.
pub(crate) struct Writer<W: Write> {
    out: W,
    sum: Sha256,
    first: bool,
}

impl<W: Write> Writer<W> {
    /// Begins a manifest for a server of `version`.
    pub(crate) fn new(out: W, version: u32, system_identifier: &str) -> io::Result<Self> {
        let mut writer = Self {
            out,
            sum: Sha256::new(),
            first: true,
        };
        if version >= VERSION_2 {
            writer.line("{ \"PostgreSQL-Backup-Manifest-Version\": 2,\n")?;
            writer.line(&format!("\"System-Identifier\": {system_identifier},\n"))?;
        } else {
            writer.line("{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n")?;
        }
        writer.line("\"Files\": [")?;
        Ok(writer)
    }

    /// Adds a file.
    pub(crate) fn file(&mut self, file: &File) -> io::Result<()> {
        let name = match str::from_utf8(&file.path) {
            Ok(path) => format!("\"Path\": {}", Value::from(path)),
            Err(_) => format!("\"Encoded-Path\": \"{}\"", hex(&file.path)),
        };
        let time = jiff::Timestamp::from_second(file.mtime).unwrap_or_default();
        let line = format!(
            "{}\n{{ {name}, \"Size\": {}, \"Last-Modified\": \"{}\", \
             \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"{}\" }}",
            if self.first { "" } else { "," },
            file.size,
            time.strftime("%Y-%m-%d %H:%M:%S GMT"),
            hex(&file.checksum.to_le_bytes()),
        );
        self.first = false;
        self.line(&line)
    }

    /// Ends it and hands the output back.
    pub(crate) fn finish(mut self, range: WalRange) -> io::Result<W> {
        self.line("\n],\n\"WAL-Ranges\": [\n")?;
        self.line(&format!(
            "{{ \"Timeline\": {}, \"Start-LSN\": \"{}\", \"End-LSN\": \"{}\" }}\n],\n",
            range.timeline, range.start, range.end
        ))?;
        let sum = hex(&self.sum.finalize());
        writeln!(self.out, "\"Manifest-Checksum\": \"{sum}\"}}")?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn line(&mut self, text: &str) -> io::Result<()> {
        self.sum.update(text.as_bytes());
        self.out.write_all(text.as_bytes())
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RANGE: WalRange = WalRange {
        timeline: 1,
        start: Lsn(0x200_0028),
        end: Lsn(0x200_0138),
    };

    fn written(version: u32, files: &[File]) -> String {
        let mut writer = Writer::new(Vec::new(), version, "77").expect("begun");
        for file in files {
            writer.file(file).expect("added");
        }
        let bytes = writer.finish(RANGE).expect("ended");
        String::from_utf8(bytes).expect("text")
    }

    fn file(path: &[u8]) -> File {
        File {
            path: path.to_vec(),
            size: 3,
            mtime: 1_700_000_000,
            checksum: 0x364B_3FB7,
        }
    }

    #[test]
    fn a_manifest_is_one_object_and_names_its_files() {
        let text = written(150_004, &[file(b"PG_VERSION"), file(b"base/\xff")]);
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["PostgreSQL-Backup-Manifest-Version"], 1);
        assert_eq!(value["Files"][0]["Path"], "PG_VERSION");
        assert_eq!(
            value["Files"][0]["Last-Modified"],
            "2023-11-14 22:13:20 GMT"
        );
        // As the server writes the CRC-32C of "abc": the bytes of the number as they lie in memory.
        assert_eq!(value["Files"][0]["Checksum"], "b73f4b36");
        assert_eq!(value["Files"][1]["Encoded-Path"], "626173652fff");
        assert_eq!(value["WAL-Ranges"][0]["Start-LSN"], "0/2000028");
        assert!(value.get("System-Identifier").is_none());
        let text = written(170_000, &[]);
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["System-Identifier"], 77);
        assert_eq!(value["Files"], serde_json::json!([]));
    }

    #[test]
    fn the_last_line_sums_up_all_before_it() {
        let text = written(150_004, &[file(b"a")]);
        let at = text.rfind("\"Manifest-Checksum\"").expect("a sum");
        let sum = hex(&Sha256::digest(&text.as_bytes()[..at]));
        assert_eq!(&text[at..], format!("\"Manifest-Checksum\": \"{sum}\"}}\n"));
    }

    proptest! {
        #[test]
        fn any_path_is_written_so_that_it_can_be_read(path: Vec<u8>) {
            let text = written(180_000, &[file(&path)]);
            let value: Value = serde_json::from_str(&text).expect("JSON");
            let read = match value["Files"][0].get("Path") {
                Some(path) => path.as_str().expect("text").as_bytes().to_vec(),
                None => {
                    let digits = value["Files"][0]["Encoded-Path"].as_str().expect("text");
                    (0..digits.len() / 2)
                        .map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).expect("hex"))
                        .collect()
                }
            };
            prop_assert_eq!(read, path);
        }
    }
}
