//! The container: a header, then blocks of records between sync markers.

use super::codec::Codec;
use super::cursor::{Cursor, put_long};
use super::schema::Schema;
use super::splice::Edits;
use super::walk::{Record, Selection, Walker};
use super::{CONTAINER_MAX, Error, Result};

const MAGIC: &[u8] = b"Obj\x01";
const SYNC: usize = 16;
/// Entries of the header's metadata.
const METADATA_ENTRIES_MAX: u64 = 10_000;

/// What stands before the blocks.
#[derive(Debug)]
pub struct Header<'a> {
    metadata: Vec<(&'a [u8], &'a [u8])>,
    schema: Schema,
    codec: Codec,
    sync: &'a [u8],
    /// Its bytes, sync marker included.
    length: usize,
}

impl<'a> Header<'a> {
    /// Reads the header of a container.
    pub fn parse(file: &'a [u8]) -> Result<Self> {
        if !file.starts_with(MAGIC) {
            return Err(Error::NotContainer);
        }
        let mut cursor = Cursor::new(file);
        cursor.take(MAGIC.len(), "magic")?;
        let metadata = metadata(&mut cursor)?;
        let sync = cursor.take(SYNC, "sync marker")?;
        let of = |wanted: &[u8]| {
            let entry = metadata.iter().find(|(key, _)| *key == wanted);
            entry.map(|(_, value)| *value)
        };
        let schema = of(b"avro.schema").ok_or(Error::Malformed("no schema"))?;
        Ok(Self {
            schema: Schema::parse(schema)?,
            codec: Codec::of(of(b"avro.codec"))?,
            metadata,
            sync,
            length: cursor.at(),
        })
    }

    /// A value of the header's metadata.
    pub fn get(&self, key: &str) -> Option<&'a [u8]> {
        let entry = self
            .metadata
            .iter()
            .find(|(known, _)| *known == key.as_bytes());
        entry.map(|(_, value)| *value)
    }

    /// How the blocks are compressed.
    pub fn codec(&self) -> Codec {
        self.codec
    }
}

fn metadata<'a>(cursor: &mut Cursor<'a>) -> Result<Vec<(&'a [u8], &'a [u8])>> {
    let mut metadata = Vec::new();
    loop {
        let count = cursor.long()?;
        if count == 0 {
            return Ok(metadata);
        }
        if count < 0 {
            cursor.length()?;
        }
        if count.unsigned_abs() > METADATA_ENTRIES_MAX
            || metadata.len() as u64 > METADATA_ENTRIES_MAX
        {
            return Err(Error::Malformed("too many entries in its header"));
        }
        for _ in 0..count.unsigned_abs() {
            let key = cursor.sized("header key")?;
            let value = cursor.sized("header value")?;
            metadata.push((&cursor.bytes()[key], &cursor.bytes()[value]));
        }
    }
}

/// One block as it is in the file.
struct RawBlock<'a> {
    count: u64,
    data: &'a [u8],
    /// From its count to the end of its sync marker.
    whole: &'a [u8],
}

fn next_block<'a>(cursor: &mut Cursor<'a>, sync: &[u8]) -> Result<Option<RawBlock<'a>>> {
    if cursor.is_at_end() {
        return Ok(None);
    }
    let start = cursor.at();
    let count = cursor.length()? as u64;
    let length = cursor.length()?;
    let data = cursor.take(length, "block")?;
    if cursor.take(SYNC, "sync marker")? != sync {
        return Err(Error::Malformed("a block without its sync marker"));
    }
    Ok(Some(RawBlock {
        count,
        data,
        whole: &cursor.bytes()[start..cursor.at()],
    }))
}

/// Shows every record to `visit`, with the selected fields found.
pub fn read<E: From<Error>>(
    file: &[u8],
    selection: &Selection,
    mut visit: impl FnMut(&Record<'_>) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let header = Header::parse(file)?;
    let mut blocks = Blocks::new(file, &header, selection);
    while let Some(raw) = blocks.next()? {
        blocks.records(&raw, &mut visit)?;
    }
    Ok(())
}

/// Lets `edit` change selected fields of every record. None: nothing was changed. Blocks without a change
/// are copied as they are compressed; the others are compressed anew with the same codec.
pub fn rewrite<E: From<Error>>(
    file: &[u8],
    selection: &Selection,
    mut edit: impl FnMut(&Record<'_>, &mut Edits) -> std::result::Result<(), E>,
) -> std::result::Result<Option<Vec<u8>>, E> {
    let header = Header::parse(file)?;
    let mut out = Vec::with_capacity(file.len() + file.len() / 8);
    out.extend_from_slice(&file[..header.length]);
    let mut differs = false;
    let mut edits = Edits::default();
    let mut edited = Vec::new();
    let mut blocks = Blocks::new(file, &header, selection);
    while let Some(raw) = blocks.next()? {
        edited.clear();
        let mut changed = false;
        blocks.records(&raw, |record| {
            edits.clear();
            edit(record, &mut edits)?;
            changed |= edits.apply(record, &mut edited);
            Ok::<(), E>(())
        })?;
        if changed {
            let data = header.codec.encode(&edited)?;
            put_long(&mut out, raw.count.cast_signed());
            put_long(&mut out, i64::try_from(data.len()).unwrap_or(i64::MAX));
            out.extend_from_slice(&data);
            out.extend_from_slice(header.sync);
            differs = true;
        } else {
            out.extend_from_slice(raw.whole);
        }
    }
    Ok(differs.then_some(out))
}

/// The blocks of a file, one after the other, and the buffer they are decompressed into.
struct Blocks<'a> {
    cursor: Cursor<'a>,
    sync: &'a [u8],
    codec: Codec,
    walker: Walker<'a>,
    data: Vec<u8>,
    left: u64,
}

impl<'a> Blocks<'a> {
    fn new(file: &'a [u8], header: &'a Header<'_>, selection: &'a Selection) -> Self {
        let mut cursor = Cursor::new(file);
        cursor.skip(header.length);
        Self {
            cursor,
            sync: header.sync,
            codec: header.codec,
            walker: Walker::new(&header.schema, selection),
            data: Vec::new(),
            left: CONTAINER_MAX,
        }
    }

    fn next(&mut self) -> Result<Option<RawBlock<'a>>> {
        let Some(raw) = next_block(&mut self.cursor, self.sync)? else {
            return Ok(None);
        };
        self.codec.decode(raw.data, &mut self.data)?;
        let left = self.left.checked_sub(self.data.len() as u64);
        self.left = left.ok_or(Error::TooLarge {
            what: "an avro container",
            max: CONTAINER_MAX,
        })?;
        self.walker.allow(self.data.len());
        Ok(Some(raw))
    }

    fn records<E: From<Error>>(
        &mut self,
        raw: &RawBlock<'_>,
        mut visit: impl FnMut(&Record<'_>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let mut records = Cursor::new(&self.data);
        for _ in 0..raw.count {
            visit(&self.walker.next(&mut records)?)?;
        }
        if records.is_at_end() {
            Ok(())
        } else {
            Err(Error::Malformed("more bytes than records in a block").into())
        }
    }
}
