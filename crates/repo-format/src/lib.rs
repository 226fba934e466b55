//! Codec of every object a repository stores: ids, compression, encryption. Bytes in, bytes out.
//!
//! The layouts are specified in `docs/format.md`; this crate is their only implementation in the
//! workspace, and the only crate that names hashers, ciphers and compressors. Every decoder takes
//! untrusted slices, caps lengths before it allocates, and authenticates before it decodes.

mod codec;
pub mod commit;
mod compress;
pub mod config;
mod content;
mod cursor;
#[cfg(test)]
mod document;
mod error;
mod filter;
mod id;
pub mod index;
pub mod keyslot;
mod kind;
pub mod limits;
pub mod pack;
pub mod parity;
#[cfg(test)]
mod sample;
mod seal;
mod secrets;
pub mod segment;
mod snapshot;
pub mod tree;

pub use codec::{Base, Codec, decode_cbor, encode_cbor};
pub use compress::{Compressor, Decompressor, Texture};
pub use content::{Content, Extent, decode_extents, encode_extents};
pub use error::Error;
pub use filter::KeyFilter;
pub use id::{
    BlobId, BlobKey, IndexId, KeyId, PackId, ParityId, RepositoryId, SessionId, SnapshotId,
};
pub use kind::ErrorKind;
pub use seal::{HEADER_LEN, Header, ObjectKind, Opener, Sealer, TAG_LEN};
pub use secrets::{BlobKind, Cipher, Epoch, KeyRing, Secrets, random_array};
pub use snapshot::{PathBytes, Snapshot, SnapshotRecord, SnapshotStats};
