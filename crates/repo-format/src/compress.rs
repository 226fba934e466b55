//! zstd with reused contexts, optionally against a base given as raw-content dictionary.

use zstd::zstd_safe::{
    CCtx, CParameter, DCtx, ParamSwitch, Strategy, compress_bound, get_error_name,
};

use crate::Error;

/// The first bytes of a formatted zstd dictionary. A base that starts with them is not raw content
/// to zstd, so such a base is never used.
const DICTIONARY_MAGIC: [u8; 4] = [0x37, 0xa4, 0x30, 0xec];

/// The search of deltas, whatever the level of the rest. A lazy search prefers the match that goes on
/// at the same place of the base to the one that comes first: deltas of pages that were updated take
/// three fifths of what level 3 makes of them. Chains hold every position of a base and a chunk of
/// 1 MiB; the hash rows that zstd would choose forget the first half of an incompressible one. zstd
/// makes all tables shorter for shorter chunks. Measured in `docs/decisions/0004`.
const BASE_SEARCH: [CParameter; 9] = [
    CParameter::CompressionLevel(6),
    CParameter::Strategy(Strategy::ZSTD_lazy),
    CParameter::UseRowMatchFinder(ParamSwitch::Disable),
    CParameter::WindowLog(21),
    CParameter::HashLog(17),
    CParameter::ChainLog(20),
    CParameter::SearchLog(2),
    CParameter::MinMatch(6),
    CParameter::TargetLength(8),
];
/// The search where nearly all is as it was: not half as long, and there is little to find.
const QUICK_SEARCH: [CParameter; 2] = [CParameter::CompressionLevel(3), CParameter::WindowLog(21)];
/// Nearly all: of so many blocks of a KiB at most one is not what it was.
const QUICK_SHARE: usize = 64;

/// Shortest match of [`Texture::Pages`] at the fast levels.
const PAGE_MATCH: u32 = 6;
/// What pages are searched as at a level: as many bytes within a hundredth or two, in a tenth to a
/// quarter less time. Measured in `docs/decisions/0004`.
const PAGE_LEVEL: (i32, i32) = (3, 2);
/// The highest level whose strategy looks for one match length only, so that it can be chosen.
const FAST_LEVEL_MAX: i32 = 4;

/// What raw bytes look like, for the search parameters. Any frame decodes the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Texture {
    /// Anything.
    #[default]
    Mixed,
    /// Database pages: rows of one shape. Ignoring the shortest matches makes frames of Postgres
    /// heap pages a tenth smaller and a seventh faster to write.
    Pages,
}

/// Compresses segments. Holds one zstd context; make one per thread and reuse it.
pub struct Compressor {
    context: CCtx<'static>,
    level: i32,
    texture: Texture,
}

impl Compressor {
    /// A compressor of zstd `level` (1 to 22).
    pub fn new(level: i32) -> Result<Self, Error> {
        let mut context = CCtx::create();
        context
            .set_parameter(CParameter::CompressionLevel(level))
            .map_err(failure)?;
        context
            .set_parameter(CParameter::ContentSizeFlag(true))
            .map_err(failure)?;
        Ok(Self {
            context,
            level,
            texture: Texture::Mixed,
        })
    }

    /// The zstd level.
    #[must_use]
    pub fn level(&self) -> i32 {
        self.level
    }

    /// Chooses the search parameters of the frames to come.
    pub fn set_texture(&mut self, texture: Texture) -> Result<(), Error> {
        if texture == self.texture {
            return Ok(());
        }
        let (level, shortest) = match texture {
            Texture::Pages if self.level == PAGE_LEVEL.0 => (PAGE_LEVEL.1, PAGE_MATCH),
            Texture::Pages if self.level <= FAST_LEVEL_MAX => (self.level, PAGE_MATCH),
            Texture::Pages | Texture::Mixed => (self.level, 0),
        };
        for parameter in [
            CParameter::CompressionLevel(level),
            CParameter::MinMatch(shortest),
        ] {
            self.context.set_parameter(parameter).map_err(failure)?;
        }
        self.texture = texture;
        Ok(())
    }

    /// Replaces `out` with one frame that holds `raw`.
    pub fn compress(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        out.clear();
        out.reserve(compress_bound(raw.len()));
        self.context.compress2(out, raw).map_err(failure)?;
        Ok(())
    }
}

/// Replaces `out` with one frame that holds `raw` given `base`, or returns `false` when `base`
/// cannot serve as a base. The two must not be the same memory: zstd drops the base then.
pub(crate) fn compress_with_base(
    raw: &[u8],
    base: &[u8],
    out: &mut Vec<u8>,
) -> Result<bool, Error> {
    if base.len() < 8 || base.starts_with(&DICTIONARY_MAGIC) {
        return Ok(false);
    }
    out.clear();
    out.reserve(compress_bound(raw.len()));
    // A context that refers to a base lives no longer than it.
    let mut context = CCtx::create();
    let search: &[CParameter] = match nearly_same(raw, base) {
        true => &QUICK_SEARCH,
        false => &BASE_SEARCH,
    };
    for parameter in search {
        context.set_parameter(*parameter).map_err(failure)?;
    }
    context.ref_prefix(base).map_err(failure)?;
    context.compress2(out, raw).map_err(failure)?;
    Ok(true)
}

/// Whether nearly all bytes are what they are in the same place of `base`.
fn nearly_same(raw: &[u8], base: &[u8]) -> bool {
    const BLOCK: usize = 1 << 10;
    let (blocks, before) = (raw.chunks(BLOCK), base.chunks(BLOCK));
    let same = blocks.zip(before).filter(|(now, before)| now == before);
    let count = raw.len().div_ceil(BLOCK);
    count - same.count() <= count / QUICK_SHARE
}

/// Decompresses segments. Holds one zstd context; make one per thread and reuse it.
pub struct Decompressor {
    context: DCtx<'static>,
}

impl Default for Decompressor {
    fn default() -> Self {
        Self::new()
    }
}

impl Decompressor {
    /// A decompressor.
    #[must_use]
    pub fn new() -> Self {
        Self {
            context: DCtx::create(),
        }
    }

    /// Replaces `out` with the `raw_len` bytes of the frame `payload`. The caller has capped
    /// `raw_len`; a frame that holds more or fewer bytes is refused.
    pub fn decompress(
        &mut self,
        payload: &[u8],
        raw_len: usize,
        base: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        const REFUSED: Error = Error::Malformed {
            what: "segment",
            why: "its zstd frame does not decode",
        };
        out.clear();
        // `Vec` offers its whole capacity as the bound, which may exceed `raw_len`: the length is
        // compared below, and the capacity is itself bounded by earlier, capped requests.
        out.reserve(raw_len);
        let written = match base {
            None => self.context.decompress(out, payload),
            Some(base) if base.len() < 8 || base.starts_with(&DICTIONARY_MAGIC) => {
                return Err(REFUSED);
            }
            Some(base) => self.context.decompress_using_dict(out, payload, base),
        };
        match written {
            Ok(len) if len == raw_len => Ok(()),
            _ => Err(REFUSED),
        }
    }
}

fn failure(code: usize) -> Error {
    Error::Compression {
        why: get_error_name(code),
    }
}

#[cfg(test)]
mod tests;
