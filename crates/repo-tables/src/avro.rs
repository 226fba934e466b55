//! Avro object containers, read and edited in place.
//!
//! Moving a table changes a few strings and lengths in files that engines of many versions wrote. So nothing
//! is decoded into a model and encoded again: a walk over the writer's schema finds the spans of the wanted
//! fields, and everything else is copied as it stands, header, unknown fields and sync markers included.
//! What the fields mean is not known here.

mod codec;
mod container;
mod cursor;
mod schema;
mod splice;
mod walk;

pub use codec::Codec;
pub use container::{Header, read, rewrite};
pub use schema::Schema;
pub use splice::Edits;
pub use walk::{Found, Record, Selection, Step, Value};

/// Longest header metadata value that is parsed, the schema, in bytes.
pub const SCHEMA_MAX: usize = 4 << 20;
/// Longest block once decompressed, in bytes.
pub const BLOCK_MAX: usize = 64 << 20;
/// All blocks of one container, decompressed, in bytes.
pub const CONTAINER_MAX: u64 = 4 << 30;
/// Types a schema may hold.
const SCHEMA_TYPES_MAX: usize = 100_000;
/// Types inside types that a value may have.
const DEPTH_MAX: u32 = 64;
/// Values that a container may hold for each byte of its blocks, and some more: values of no bytes are legal,
/// and a declared count of them costs its writer nothing.
const STEPS_EACH_BYTE: u64 = 16;
const STEPS_MORE: u64 = 1 << 20;

/// Why bytes are no Avro container that can be read or edited here.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The magic is missing.
    #[error("not an avro container")]
    NotContainer,
    /// It ends within something that it declared.
    #[error("avro ends early: {what} at byte {at}")]
    Truncated {
        /// What is cut off.
        what: &'static str,
        /// Where it begins, in bytes from the start of the file or of the decompressed block.
        at: usize,
    },
    /// Bytes that the format does not allow.
    #[error("malformed avro: {0}")]
    Malformed(&'static str),
    /// A schema that cannot be read.
    #[error("avro schema: {0}")]
    Schema(String),
    /// A compression that is not known here.
    #[error("avro codec {0:?} is not supported")]
    UnknownCodec(String),
    /// A declared size beyond the limit.
    #[error("{what} is larger than {max} bytes")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The limit in bytes.
        max: u64,
    },
    /// A value was given to a field of another type.
    #[error("a field cannot take this value: {0}")]
    Edit(&'static str),
}

type Result<T> = std::result::Result<T, Error>;
