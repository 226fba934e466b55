//! The files of a backup, stored as they come.

use std::collections::HashSet;
use std::io::{self, Read};
use std::ops::Range;

use repo_core::{Builder, Entry, EntryType, Timestamp};

use crate::description::Description;
use crate::page::PAGE;
use crate::snapshot::Suspect;
use crate::stream::about::About;
use crate::stream::archive::Parts;
use crate::stream::error::{Error, Result};
use crate::stream::fold::{self, Changes, Folded};
use crate::stream::pages::{Verified, first_block};
use crate::stream::tar::{Header, Kind};

/// The file that says what the cluster is.
const CONTROL: &str = "global/pg_control";
/// The file that says where recovery begins.
const LABEL: &str = "backup_label";
/// Names of segments that a description lists; a backup that needs more WAL is refused.
const SEGMENTS_MAX: usize = 1 << 20;

/// What was stored, and what is known from it.
pub(super) struct Files<'b> {
    builder: &'b Builder<'b>,
    about: &'b About,
    /// Files of the parent with damaged pages.
    doubted: HashSet<String>,
    /// The server sends changes of files.
    pub(super) changes: bool,
    pub(super) suspects: Vec<Suspect>,
    /// Names of segments of WAL.
    pub(super) wal: Vec<String>,
    /// 0 until `pg_control` has come.
    pub(super) catalog_version: u32,
    /// Time and owner of entries that the server does not send.
    pub(super) like: Entry,
}

impl<'b> Files<'b> {
    /// `parent` is what the parent says about its cluster.
    pub(super) fn new(
        builder: &'b Builder<'b>,
        about: &'b About,
        parent: Option<&Description>,
    ) -> Self {
        let mut like = Entry::new(Vec::new(), EntryType::File);
        like.mode = 0o600;
        let corrupt = parent.into_iter().flat_map(|parent| &parent.corrupt_pages);
        Self {
            builder,
            about,
            doubted: corrupt.map(|page| page.path.clone()).collect(),
            changes: false,
            suspects: Vec::new(),
            wal: Vec::new(),
            catalog_version: 0,
            like,
        }
    }

    /// Stores what one archive holds.
    pub(super) fn archive(&mut self, parts: &mut Parts<'_>, space: Option<u32>) -> Result<()> {
        let below = space.map(|oid| format!("pg_tblspc/{oid}/").into_bytes());
        let below = below.unwrap_or_default();
        while let Some(header) = parts.header()? {
            if self.builder.cancelled() {
                return Err(repo_core::Error::Cancelled.into());
            }
            let mut path = below.clone();
            path.extend_from_slice(&header.path);
            if !header.path.is_empty() {
                let stored = self.entry(&path, &header, parts);
                stored.map_err(|error| parts.take_failure().unwrap_or(error))?;
            }
            parts.skip(header.padding())?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &[u8], header: &Header, parts: &mut Parts<'_>) -> Result<()> {
        let mut entry = described(Entry::new(Vec::new(), EntryType::File), header);
        match header.kind {
            Kind::Directory => {
                entry.kind = EntryType::Directory;
                return Ok(self.builder.put(path, entry)?);
            }
            // Where a tablespace lies is in tablespace_map; others lead out of the cluster.
            Kind::Link if path.starts_with(b"pg_tblspc/") => return Ok(()),
            Kind::Link => {
                entry.kind = EntryType::Symlink;
                entry.target = Some(header.target.clone());
                return Ok(self.builder.put(path, entry)?);
            }
            Kind::File => entry.size = header.size,
        }
        let segment = path
            .strip_prefix(b"pg_wal/")
            .and_then(|name| std::str::from_utf8(name).ok());
        if let Some(name) = segment.filter(|name| is_segment(name)) {
            if self.wal.len() == SEGMENTS_MAX {
                return Err(Error::archive("it holds too much WAL"));
            }
            self.wal.push(name.to_owned());
        }
        if path == CONTROL.as_bytes() {
            self.like = entry.clone();
            self.like.size = 0;
            return self.control(entry, header.size, parts);
        }
        if self.changes {
            if path == LABEL.as_bytes() {
                return self.label(entry, header.size, parts);
            }
            if let Some(whole) = fold::whole_path(path) {
                return self.fold(&whole, header, parts);
            }
        }
        self.pages(path, entry, &mut parts.by_ref().take(header.size))
    }

    /// Stores a file that the server sends the changes of.
    fn fold(&mut self, path: &[u8], header: &Header, parts: &mut Parts<'_>) -> Result<()> {
        let mut source = parts.by_ref().take(header.size);
        let read = Changes::read(&mut source, header.size, self.about.segment_blocks);
        let changes = match read {
            Ok(changes) => changes,
            Err(error) => {
                let said = parts.take_failure();
                return Err(said.unwrap_or_else(|| Error::archive(error.to_string())));
            }
        };
        let before = self.builder.before(path)?;
        let Some(before) = before.filter(|before| before.kind == EntryType::File) else {
            let path = path.escape_ascii();
            return Err(Error::Changes {
                why: format!("the parent has no {path}"),
            });
        };
        let doubted = str::from_utf8(path).is_ok_and(|path| self.doubted.contains(path));
        if changes.is_none(before.size) && !doubted {
            return Ok(self.builder.put(path, described(before, header))?);
        }
        let mut entry = described(Entry::new(Vec::new(), EntryType::File), header);
        entry.size = changes.len();
        let builder = self.builder;
        let earlier = |range: Range<u64>| {
            builder
                .read_before(&before, range)
                .map_err(io::Error::other)
        };
        let mut folded = Folded::new(&changes, &mut source, &earlier, before.size);
        self.pages(path, entry, &mut folded)
    }

    /// Stores the label of a backup of changes as that of a full one.
    fn label(&self, mut entry: Entry, size: u64, parts: &mut Parts<'_>) -> Result<()> {
        let label = fold::whole_label(&parts.small(size)?);
        entry.size = label.len() as u64;
        self.store(LABEL.as_bytes(), entry, &mut &label[..])
    }

    /// Stores `pg_control`, which says what the server does not.
    fn control(&mut self, entry: Entry, size: u64, parts: &mut Parts<'_>) -> Result<()> {
        let bytes = parts.small(size)?;
        let (system, version) = bytes
            .first_chunk::<8>()
            .zip(bytes.get(12..16).and_then(|rest| rest.first_chunk::<4>()))
            .ok_or_else(|| Error::archive("pg_control is cut"))?;
        if u64::from_le_bytes(*system).to_string() != self.about.system {
            return Err(Error::archive("pg_control is of another cluster"));
        }
        self.catalog_version = u32::from_le_bytes(*version);
        self.store(CONTROL.as_bytes(), entry, &mut &bytes[..])
    }

    /// Stores a file, with its pages verified where it has any.
    fn pages(&mut self, path: &[u8], entry: Entry, source: &mut dyn Read) -> Result<()> {
        let about = &self.about;
        let verify = about.checksums && usize::try_from(about.block_size) == Ok(PAGE);
        match first_block(path, about.segment_blocks).filter(|_| verify) {
            Some(block) => {
                let mut suspects = std::mem::take(&mut self.suspects);
                let mut source = Verified::new(source, path, block, &mut suspects);
                let stored = self.store(path, entry, &mut source);
                self.suspects = suspects;
                stored
            }
            None => self.store(path, entry, source),
        }
    }

    /// Stores a file with the parent's version as what it is compared with.
    pub(super) fn store(&self, path: &[u8], entry: Entry, source: &mut dyn Read) -> Result<()> {
        let before = self.builder.before(path)?;
        let before = before.filter(|before| before.kind == EntryType::File);
        let expected = entry.size;
        let stored = self.builder.store(path, entry, source, before.as_ref())?;
        if expected > 0 && stored.size != expected {
            return Err(Error::archive(format!("{} is cut", path.escape_ascii())));
        }
        Ok(())
    }
}

/// An entry with mode, owner and time as the server sends them.
fn described(mut entry: Entry, header: &Header) -> Entry {
    entry.mode = header.mode;
    entry.uid = header.uid;
    entry.gid = header.gid;
    entry.mtime = Timestamp {
        seconds: header.mtime,
        nanos: 0,
    };
    entry
}

fn is_segment(name: &str) -> bool {
    matches!(name.parse(), Ok(crate::wal::WalFile::Segment(_)))
}
