//! What can be wrong with stored bytes.

use crate::ErrorKind;

/// A stored object that cannot be decoded, or a request the format cannot express.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes do not have the layout the format prescribes.
    #[error("{what} is malformed: {why}")]
    Malformed {
        /// The object or part, for example `pack directory`.
        what: &'static str,
        /// The rule that is broken.
        why: &'static str,
    },
    /// Authentication failed: the bytes are not what the key holder wrote under this name.
    #[error("{what} fails authentication")]
    Forged {
        /// The object or part.
        what: &'static str,
    },
    /// The object was sealed with another key than the one tried (commitment mismatch).
    #[error("{what} was sealed with another key")]
    OtherKey {
        /// The object or part.
        what: &'static str,
    },
    /// No key slot opens with the password.
    #[error("the password opens no key slot")]
    WrongPassword,
    /// A version or feature this program does not know.
    #[error("{what} needs {needs}, which this version does not support")]
    Unsupported {
        /// The object or operation.
        what: &'static str,
        /// The version or feature.
        needs: String,
    },
    /// A value outside what the format allows.
    #[error("{what} is out of range: {value} (allowed: {allowed})")]
    OutOfRange {
        /// The field.
        what: &'static str,
        /// The value met.
        value: u64,
        /// The allowed range, in words.
        allowed: &'static str,
    },
    /// The compressor or the decoder of what it wrote failed.
    #[error("compression of a segment failed: {why}")]
    Compression {
        /// The library's name for the failure.
        why: &'static str,
    },
    /// Encoded data did not decode to the same bytes: a defect of memory or a library.
    #[error("a segment does not decode to the bytes that were encoded")]
    VerifyFailed,
    /// The operating system gave no random bytes, or a primitive refused its input.
    #[error("the operating system's random source failed")]
    Random,
}

impl Error {
    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Malformed { .. } | Self::Forged { .. } | Self::OtherKey { .. } => {
                ErrorKind::Corrupt
            }
            Self::WrongPassword => ErrorKind::Denied,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::OutOfRange { .. } => ErrorKind::Invalid,
            Self::Compression { .. } | Self::VerifyFailed | Self::Random => ErrorKind::Internal,
        }
    }
}

pub(crate) const fn malformed(what: &'static str, why: &'static str) -> Error {
    Error::Malformed { what, why }
}
