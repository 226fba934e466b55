//! Every limit of this crate, in one place.

use std::time::Duration;

/// Requests one [`Store`](crate::Store) and its clones have in flight; more wait for their turn.
pub const REQUESTS_MAX: usize = 64;

/// Longest key, in bytes: what a local path of usual depth still holds.
pub const KEY_LEN_MAX: usize = 512;

/// Time after the first attempt in which an unavailable store is asked again.
pub const RETRY_TIMEOUT: Duration = Duration::from_secs(60);

/// First pause between two attempts; each later one is twice as long, with jitter.
pub const RETRY_DELAY_MIN: Duration = Duration::from_millis(100);

/// Longest pause between two attempts.
pub const RETRY_DELAY_MAX: Duration = Duration::from_secs(10);

/// Attempts made of one operation, whatever time is left.
pub const RETRY_ATTEMPTS_MAX: u32 = 10;

/// Retries inside one attempt, by the HTTP client, which picks up a cut body where it broke.
///
/// Few: they must end before [`ANSWER_TIMEOUT`] hides what the server said.
pub(crate) const CLIENT_RETRIES_MAX: usize = 2;

/// Time to reach a network store.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time in which a network store has to answer, or send the next bytes of an answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Slowest upload that is waited for, in bytes a second, on top of [`ANSWER_TIMEOUT`].
pub const UPLOAD_RATE_MIN: u64 = 64 * 1024;

/// Directories below the listed prefix that a walked listing descends into.
pub const LIST_DEPTH_MAX: usize = 16;

/// Directories remembered as durable; past it they are synced again.
pub(crate) const SYNCED_DIRECTORIES_MAX: usize = 4096;

/// Locks remembered without asking the store; those past it are asked for and renewed again.
pub(crate) const LOCKS_KNOWN_MAX: usize = 200_000;

/// Longest answer to a request about a lock, in bytes.
pub(crate) const LOCK_ANSWER_MAX: usize = 64 << 10;

/// Bytes of a server's answer kept in an error.
pub(crate) const CAUSE_LEN_MAX: usize = 600;

/// Bytes written to a local file at once. Writes of a MiB and more make the page cache take large
/// pages, which a virtual machine may have to fetch from its host: several times slower.
pub(crate) const LOCAL_WRITE: usize = 128 << 10;
