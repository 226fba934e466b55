//! The few kinds of failure a caller can act on.

/// What a caller can do about an error. A kind exists only where callers act differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The named thing does not exist.
    NotFound,
    /// Another writer was first, or the name holds other content: reload and rebase.
    Conflict,
    /// The store did not answer in time or said it is busy: the only kind worth a retry.
    Unavailable,
    /// Stored bytes are not what was written.
    Corrupt,
    /// The repository uses a feature or version this program does not know.
    Unsupported,
    /// Wrong password, missing permission, or a refused request.
    Denied,
    /// The caller's input is not usable.
    Invalid,
    /// A defect in this program or an environment failure with no better name.
    Internal,
}
