//! The Reed-Solomon code of a group: over GF(2^16), by `reed-solomon-simd`.
//!
//! That package chooses between two codes by the numbers of packs and shards. Here it is always the
//! one it calls high rate, so that what is stored depends on the document alone.

use reed_solomon_simd::engine::DefaultEngine;
use reed_solomon_simd::rate::{HighRateDecoder, HighRateEncoder, RateDecoder, RateEncoder};

use crate::error::Error;
use crate::limits::{PARITY_PACKS_MAX, PARITY_SHARDS_MAX};

fn failed(_: reed_solomon_simd::Error) -> Error {
    let why = "the code refuses its input";
    Error::Compression { why }
}

fn allowed(packs: usize, shards: usize) -> Result<(), Error> {
    let value = packs.max(shards) as u64;
    if packs == 0 || packs > PARITY_PACKS_MAX as usize {
        let (what, allowed) = ("packs of a parity group", "1 to 32");
        return Err(Error::OutOfRange {
            what,
            value,
            allowed,
        });
    }
    if shards == 0 || shards > PARITY_SHARDS_MAX as usize {
        let (what, allowed) = ("shards of a parity group", "1 to 16");
        return Err(Error::OutOfRange {
            what,
            value,
            allowed,
        });
    }
    Ok(())
}

/// Makes parity; its working space is reused.
pub struct Coder {
    packs: usize,
    shards: usize,
    encoder: Option<HighRateEncoder<DefaultEngine>>,
}

impl Coder {
    /// A code that makes up for the loss of `shards` of `packs` packs.
    pub fn new(packs: usize, shards: usize) -> Result<Self, Error> {
        allowed(packs, shards)?;
        Ok(Self {
            packs,
            shards,
            encoder: None,
        })
    }

    /// Hands the parity of one part of all packs to `each`, with the number of the shard. Parts are
    /// of one length, a multiple of 64 bytes; a shorter pack is filled up with zeros.
    pub fn encode(
        &mut self,
        parts: &[Vec<u8>],
        mut each: impl FnMut(usize, &[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let len = parts.first().map_or(0, Vec::len);
        if let Some(encoder) = &mut self.encoder {
            encoder
                .reset(self.packs, self.shards, len)
                .map_err(failed)?;
        } else {
            let engine = DefaultEngine::new();
            let made = HighRateEncoder::new(self.packs, self.shards, len, engine, None);
            self.encoder = Some(made.map_err(failed)?);
        }
        let Some(encoder) = &mut self.encoder else {
            return Err(Error::VerifyFailed);
        };
        for part in parts {
            encoder.add_original_shard(part).map_err(failed)?;
        }
        let coded = encoder.encode().map_err(failed)?;
        for (shard, parity) in coded.recovery_iter().enumerate() {
            each(shard, parity)?;
        }
        Ok(())
    }
}

/// Rebuilds one block of pack `wanted` of a group of `packs` packs and `shards` shards out of the
/// blocks at the same place of other packs, and of shards, by their numbers. All are of one length, a
/// multiple of 64 bytes. None when there are too few.
pub fn rebuild(
    (packs, shards): (usize, usize),
    wanted: usize,
    of_packs: &[(usize, &[u8])],
    of_shards: &[(usize, &[u8])],
) -> Result<Option<Vec<u8>>, Error> {
    allowed(packs, shards)?;
    if of_packs.len() + of_shards.len() < packs {
        return Ok(None);
    }
    let len = of_shards.first().map_or(0, |(_, block)| block.len());
    let engine = DefaultEngine::new();
    let decoder = HighRateDecoder::new(packs, shards, len, engine, None);
    let mut decoder = decoder.map_err(failed)?;
    for (number, block) in of_packs {
        decoder.add_original_shard(*number, block).map_err(failed)?;
    }
    for (number, block) in of_shards {
        decoder.add_recovery_shard(*number, block).map_err(failed)?;
    }
    let decoded = decoder.decode().map_err(failed)?;
    Ok(decoded.restored_original(wanted).map(<[u8]>::to_vec))
}
