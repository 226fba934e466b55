//! Chunk boundaries from bytes: what a file is, and where to cut it.
//!
//! Owns the three policies (generic content-defined, fixed grid for page files, page edges for
//! Parquet) and the sizes they use. Does no hashing of identity, no I/O, keeps no clock: a caller
//! shows a window of bytes and is told how long the next chunk is. Reading files, naming chunks
//! and storing them is left to higher floors.
//!
//! Cut points are part of what a repository deduplicates against: the same parameters, seed and
//! bytes must give the same cuts in every version (golden vectors in `tests/it`).

mod cdc;
mod chunker;
pub mod columnar;
mod cutter;
mod params;
mod policy;

pub use chunker::Chunker;
pub use cutter::{Cutter, Plan};
pub use params::{Error, Params, Sizes};
pub use policy::Policy;

/// Length no chunk of any plan exceeds, in bytes.
pub const CHUNK_MAX: usize = 1 << 20;
