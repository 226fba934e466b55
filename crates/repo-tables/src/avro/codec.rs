//! The four block codecs that table formats use, with a limit on what comes out.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use super::{BLOCK_MAX, Error, Result};

/// What zstd uses for speed; a rewritten manifest is as small as its writer's within some percent.
const ZSTD_LEVEL: i32 = 3;
/// Bytes of the checksum behind a snappy block.
const SNAPPY_CHECKSUM: usize = 4;
/// Windows above 128 MiB are refused: they would be memory for nothing, blocks are shorter.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// How blocks are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// Not at all.
    Null,
    /// Raw deflate.
    Deflate,
    /// Raw snappy and the checksum of what it holds.
    Snappy,
    /// A zstd frame.
    Zstandard,
}

impl Codec {
    /// The codec of a name in the header; none means that there is none.
    pub fn of(name: Option<&[u8]>) -> Result<Self> {
        match name {
            None | Some(b"null" | b"") => Ok(Self::Null),
            Some(b"deflate") => Ok(Self::Deflate),
            Some(b"snappy") => Ok(Self::Snappy),
            Some(b"zstandard") => Ok(Self::Zstandard),
            Some(other) => {
                let name: String = String::from_utf8_lossy(other).chars().take(32).collect();
                Err(Error::UnknownCodec(name))
            }
        }
    }

    /// Decompresses one block into `out`, which is emptied first.
    pub(super) fn decode(self, block: &[u8], out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        match self {
            Self::Null => {
                check_size(block.len())?;
                out.extend_from_slice(block);
                Ok(())
            }
            Self::Deflate => limited(DeflateDecoder::new(block), "a deflate block", out),
            Self::Snappy => snappy(block, out),
            Self::Zstandard => {
                let malformed = |_| Error::Malformed("a zstandard block");
                let mut decoder =
                    zstd::stream::read::Decoder::with_buffer(block).map_err(malformed)?;
                decoder
                    .window_log_max(ZSTD_WINDOW_LOG_MAX)
                    .map_err(malformed)?;
                limited(decoder, "a zstandard block", out)
            }
        }
    }

    /// Compresses one block.
    pub(super) fn encode(self, block: &[u8]) -> Result<Vec<u8>> {
        let failed = |_| Error::Malformed("a block that does not compress");
        match self {
            Self::Null => Ok(block.to_vec()),
            Self::Deflate => {
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(block).map_err(failed)?;
                encoder.finish().map_err(failed)
            }
            Self::Snappy => {
                let mut out = snap::raw::Encoder::new()
                    .compress_vec(block)
                    .map_err(|_| Error::Malformed("a block that does not compress"))?;
                out.extend_from_slice(&checksum(block));
                Ok(out)
            }
            Self::Zstandard => zstd::bulk::compress(block, ZSTD_LEVEL).map_err(failed),
        }
    }
}

fn check_size(length: usize) -> Result<()> {
    if length > BLOCK_MAX {
        return Err(Error::TooLarge {
            what: "an avro block",
            max: BLOCK_MAX as u64,
        });
    }
    Ok(())
}

fn limited(reader: impl Read, what: &'static str, out: &mut Vec<u8>) -> Result<()> {
    let read = reader.take(BLOCK_MAX as u64 + 1).read_to_end(out);
    read.map_err(|_| Error::Malformed(what))?;
    check_size(out.len())
}

fn snappy(block: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let malformed = Error::Malformed("a snappy block");
    let Some(length) = block.len().checked_sub(SNAPPY_CHECKSUM) else {
        return Err(malformed);
    };
    let (data, sum) = block.split_at(length);
    let Ok(length) = snap::raw::decompress_len(data) else {
        return Err(malformed);
    };
    check_size(length)?;
    out.resize(length, 0);
    let decompressed = snap::raw::Decoder::new().decompress(data, out);
    if decompressed != Ok(length) {
        return Err(malformed);
    }
    if checksum(out) != sum {
        return Err(Error::Malformed("a snappy block with a wrong checksum"));
    }
    Ok(())
}

/// CRC-32 of what a snappy block holds, the most significant byte first.
fn checksum(data: &[u8]) -> [u8; SNAPPY_CHECKSUM] {
    let mut crc = flate2::Crc::new();
    crc.update(data);
    crc.sum().swap_bytes().to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Codec; 4] = [Codec::Null, Codec::Deflate, Codec::Snappy, Codec::Zstandard];

    #[test]
    fn blocks_come_back() {
        let block = b"file:/a/b/c file:/a/b/d".repeat(100);
        for codec in ALL {
            let encoded = codec.encode(&block).expect("encoded");
            let mut out = vec![1, 2, 3];
            codec.decode(&encoded, &mut out).expect("decoded");
            assert_eq!(out, block, "{codec:?}");
            if codec != Codec::Null {
                assert!(
                    codec
                        .decode(&encoded[..encoded.len() / 2], &mut out)
                        .is_err()
                );
            }
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        let zeros = vec![0; BLOCK_MAX + 1];
        for codec in ALL {
            let bomb = codec.encode(&zeros).expect("encoded");
            let refused = codec.decode(&bomb, &mut Vec::new());
            assert!(matches!(refused, Err(Error::TooLarge { .. })), "{codec:?}");
        }
    }

    #[test]
    fn a_wrong_snappy_checksum_is_found() {
        let mut encoded = Codec::Snappy.encode(b"abc").expect("encoded");
        *encoded.last_mut().expect("a byte") ^= 1;
        let decoded = Codec::Snappy.decode(&encoded, &mut Vec::new());
        assert!(matches!(decoded, Err(Error::Malformed(_))));
    }
}
