//! Codec of every stored object: bytes in, bytes out.

mod kind;

pub use kind::ErrorKind;
