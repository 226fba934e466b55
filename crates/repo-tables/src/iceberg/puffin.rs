//! Puffin files: blobs, then a footer that names them. Deletion vectors name their data file in the footer,
//! and blobs lie before it, so that a new footer moves none of them.

use std::ops::Range;

use super::location::Prefixes;
use super::{Error, Result, json};

const MAGIC: &[u8] = b"PFA1";
/// Behind the payload: its length, flags, the magic.
const TRAILER: usize = 12;
/// The first flag says that the payload is compressed.
const COMPRESSED: u8 = 1;

/// Where the payload of a footer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footer {
    payload: Range<usize>,
}

impl Footer {
    /// Finds the footer of a whole file; the location is for errors.
    pub fn parse(file: &[u8], location: &str) -> Result<Self> {
        let malformed = |what: &str| Error::malformed(location, what);
        if !file.starts_with(MAGIC) || !file.ends_with(MAGIC) {
            return Err(malformed("not a puffin file"));
        }
        let end = file.len().checked_sub(TRAILER);
        let end = end.ok_or_else(|| malformed("a puffin file that ends early"))?;
        let (length, rest) = file[end..]
            .split_first_chunk::<4>()
            .ok_or_else(|| malformed("a puffin file that ends early"))?;
        let start = usize::try_from(i32::from_le_bytes(*length))
            .ok()
            .and_then(|length| end.checked_sub(length))
            .ok_or_else(|| malformed("a puffin footer longer than its file"))?;
        // The magic before the payload may not be the one that the file begins with.
        let magic = start
            .checked_sub(MAGIC.len())
            .filter(|at| *at >= MAGIC.len());
        if magic.and_then(|at| file.get(at..start)) != Some(MAGIC) {
            return Err(malformed(
                "a puffin footer that does not begin with its magic",
            ));
        }
        if rest.first().is_none_or(|flags| flags & COMPRESSED != 0) {
            return Err(malformed(
                "a compressed puffin footer, which is not supported",
            ));
        }
        Ok(Self {
            payload: start..end,
        })
    }

    /// The payload: JSON.
    pub fn payload<'a>(&self, file: &'a [u8]) -> &'a [u8] {
        &file[self.payload.clone()]
    }
}

/// The file with the paths of its deletion vectors moved. None: nothing was changed.
pub(super) fn rewrite(file: &[u8], location: &str, prefixes: &Prefixes) -> Result<Option<Vec<u8>>> {
    let footer = Footer::parse(file, location)?;
    let payload = json::edit(footer.payload(file), location, |path, value| {
        if !json::is(path, &["blobs", "*", "properties", "referenced-data-file"]) {
            return Ok(None);
        }
        Ok(Some(prefixes.map(value, location)?.into_owned()))
    })?;
    let Some(payload) = payload else {
        return Ok(None);
    };
    let length = i32::try_from(payload.len())
        .map_err(|_| Error::malformed(location, "a puffin footer that is too long"))?;
    let mut out = file[..footer.payload.start].to_vec();
    out.extend_from_slice(&payload);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&file[footer.payload.end + 4..]);
    Ok(Some(out))
}
