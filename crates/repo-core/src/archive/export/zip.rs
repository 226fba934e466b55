//! ZIP, streamed: lengths and checksums come after the content, the directory at the end. Its rows
//! are kept until then.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::DeflateEncoder;
use rawzip::path::{EntryPath, ZipFilePath};
use rawzip::time::UtcDateTime;
use rawzip::{CompressionMethod, ZipArchiveWriter};
use repo_format::tree::{Entry, EntryType};

use super::{Archive, content, output};
use crate::archive::tree::Trees;
use crate::error::{Error, Result};
use crate::limits::EXPORT_ROWS_MAX;

/// What a row of the directory takes beside its name, in bytes; rounded up.
const ROW: usize = 192;
/// Longest name, in bytes: its length has 16 bits.
const NAME_MAX: usize = u16::MAX as usize;
/// Times that a header can tell, in seconds since 1970: from 1980 until 2107.
const TIMES: std::ops::RangeInclusive<i64> = 315_532_800..=4_354_819_198;

/// Writes a zip archive.
pub(super) struct Zip<W: Write> {
    archive: Option<ZipArchiveWriter<W>>,
    rows: usize,
}

impl<W: Write> Zip<W> {
    pub(super) fn new(out: W) -> Self {
        Self {
            archive: Some(ZipArchiveWriter::new(out)),
            rows: 0,
        }
    }
}

/// A name that says it is UTF-8 where it is, unless a reader would be given another one than it is.
fn named(path: &[u8]) -> EntryPath<'_> {
    match str::from_utf8(path) {
        Ok(text) if ZipFilePath::from_str(text).as_str() == text => EntryPath::conformant(text),
        _ => EntryPath::verbatim(path),
    }
}

fn failed(error: rawzip::Error) -> Error {
    output(match error.into_kind() {
        rawzip::ErrorKind::IO(error) => error,
        other => io::Error::other(other.to_string()),
    })
}

impl<W: Write> Archive for Zip<W> {
    fn add(&mut self, trees: &Trees, path: &[u8], entry: &Entry) -> Result<bool> {
        let kind = match entry.kind {
            EntryType::File => 0o100_000,
            EntryType::Directory => 0o040_000,
            EntryType::Symlink => 0o120_000,
            EntryType::Fifo | EntryType::CharDevice | EntryType::BlockDevice => return Ok(false),
        };
        self.rows += ROW + path.len();
        if self.rows > EXPORT_ROWS_MAX || path.len() >= NAME_MAX {
            let what = "a zip archive cannot hold so many or so long names; write a tar archive";
            return Err(Error::Invalid {
                what: what.to_owned(),
            });
        }
        let mode = kind | entry.mode & 0o7777;
        let seconds = entry.mtime.seconds.clamp(*TIMES.start(), *TIMES.end());
        let time = UtcDateTime::from_unix(seconds);
        let Some(archive) = &mut self.archive else {
            return Err(Error::Internal { what: "zip" });
        };
        let mut path = path.to_vec();
        if entry.kind == EntryType::Directory {
            path.push(b'/');
            let directory = archive.new_dir(named(&path));
            let directory = directory.last_modified(time).unix_permissions(mode);
            directory.create().map_err(failed)?;
            return Ok(true);
        }
        let (mut row, config) = archive
            .new_file(named(&path))
            .compression_method(CompressionMethod::DEFLATE)
            .last_modified(time)
            .unix_permissions(mode)
            .start()
            .map_err(failed)?;
        let deflate = DeflateEncoder::new(&mut row, Compression::fast());
        let mut writer = config.wrap(deflate);
        match &entry.target {
            Some(target) => writer.write_all(target).map_err(output)?,
            None => content(trees, entry, &mut writer)?,
        }
        let (deflate, descriptor) = writer.finish().map_err(failed)?;
        deflate.finish().map_err(output)?;
        row.finish(descriptor).map_err(failed)?;
        Ok(true)
    }

    fn finish(&mut self) -> Result<()> {
        let Some(archive) = self.archive.take() else {
            return Err(Error::Internal { what: "zip" });
        };
        let mut out = archive.finish().map_err(failed)?;
        out.flush().map_err(output)
    }
}
