//! Length of a Parquet page, from the header it starts with.

use super::thrift::{Kind, Malformed, Reader};

/// Longest page header read; statistics are the only part that grows.
const HEADER_MAX: usize = 64 << 10;

/// Returns the length, header included, of the page at the start of `bytes`.
///
/// The page itself may reach beyond `bytes`; its header may not. The length is never zero.
pub(super) fn length(bytes: &[u8]) -> Result<u64, Malformed> {
    let mut reader = Reader::new(&bytes[..bytes.len().min(HEADER_MAX)]);
    let (mut page_type, mut body) = (None, None);
    reader.fields(|reader, id, kind| {
        match (id, kind) {
            (1, Kind::I32) => page_type = Some(reader.integer()?),
            (3, Kind::I32) => body = Some(reader.integer()?),
            _ => reader.skip(kind)?,
        }
        Ok(())
    })?;
    if !matches!(page_type, Some(0..=3)) {
        return Err(Malformed);
    }
    let body = u32::try_from(body.ok_or(Malformed)?).map_err(|_| Malformed)?;
    Ok(reader.position() as u64 + u64::from(body))
}
