//! Sizes a repository was created with, and the check that they are safe to cut with.
//!
//! The defaults are measured (`docs/decisions/0001-chunk-sizes.md`). How sizes are stored is left
//! to the format floor.

use crate::CHUNK_MAX;

/// Unit of the grid for page files: a multiple of every page size in use.
const GRID_UNIT: u32 = 64 << 10;

/// Why chunk parameters are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A size is not a power of two.
    #[error("{policy} chunk size {size} is not a power of two")]
    NotPowerOfTwo {
        /// Sizes the value belongs to.
        policy: &'static str,
        /// The value.
        size: u32,
    },
    /// A size is below what the algorithm can do, or above [`CHUNK_MAX`].
    #[error("{policy} chunk size {size} is outside {min}..={max}")]
    OutOfRange {
        /// Sizes the value belongs to.
        policy: &'static str,
        /// The value.
        size: u32,
        /// Least value allowed.
        min: u32,
        /// Greatest value allowed.
        max: u32,
    },
    /// The sizes are not `min <= avg <= max`.
    #[error("{policy} chunk sizes {min}, {avg}, {max} are not in order")]
    NotInOrder {
        /// Sizes the values belong to.
        policy: &'static str,
        /// Least chunk.
        min: u32,
        /// Average chunk.
        avg: u32,
        /// Greatest chunk.
        max: u32,
    },
    /// The grid of page files is not a positive multiple of 64 KiB up to [`CHUNK_MAX`].
    #[error("page chunk {size} is not a multiple of 64 KiB up to 1 MiB")]
    PageChunk {
        /// The value.
        size: u32,
    },
}

/// Least, average and greatest chunk of one content-defined policy, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// No chunk is shorter, except the last of a file or of a region.
    pub min: u32,
    /// Length aimed at.
    pub avg: u32,
    /// No chunk is longer.
    pub max: u32,
}

impl Sizes {
    /// Sizes of `min`, `avg` and `max` KiB.
    const fn kib(min: u32, avg: u32, max: u32) -> Self {
        Self {
            min: min << 10,
            avg: avg << 10,
            max: max << 10,
        }
    }

    /// Checks what the algorithm assumes: with odd sizes, or a table index out of range, it would
    /// cut differently in debug and release builds, or panic.
    fn validate(self, policy: &'static str) -> Result<(), Error> {
        let Self { min, avg, max } = self;
        for (size, least) in [(min, 64), (avg, 256), (max, 1024)] {
            if !size.is_power_of_two() {
                return Err(Error::NotPowerOfTwo { policy, size });
            }
            if size < least || size as usize > CHUNK_MAX {
                let max = 1 << 20;
                return Err(Error::OutOfRange {
                    policy,
                    size,
                    min: least,
                    max,
                });
            }
        }
        if min > avg || avg > max {
            return Err(Error::NotInOrder {
                policy,
                min,
                avg,
                max,
            });
        }
        Ok(())
    }
}

/// Chunk sizes of one repository, fixed when it is created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Params {
    /// Content-defined cuts of files of no known kind.
    pub generic: Sizes,
    /// Groups of small pages, and cuts inside large ones, in columnar files.
    ///
    /// A page of up to `max` bytes that is at least `avg` long is a chunk of its own.
    pub columnar: Sizes,
    /// Grid cell of page files in bytes, a multiple of 64 KiB.
    pub page_chunk: u32,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            generic: Sizes::kib(16, 64, 256),
            columnar: Sizes::kib(16, 32, 512),
            page_chunk: 1 << 20,
        }
    }
}

impl Params {
    /// Refuses sizes that cannot be cut with safely.
    pub fn validate(&self) -> Result<(), Error> {
        self.generic.validate("generic")?;
        self.columnar.validate("columnar")?;
        let size = self.page_chunk;
        if size == 0 || !size.is_multiple_of(GRID_UNIT) || size as usize > CHUNK_MAX {
            return Err(Error::PageChunk { size });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
