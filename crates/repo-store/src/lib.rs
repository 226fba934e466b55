//! Object access: one concrete [`Store`] over any `object_store` implementation.
//!
//! Owns what every reader and writer of objects needs and no object store gives alike: opening by
//! location, create-only put that survives lost answers, bounded reads, sorted listing, durable
//! local writes, retention locks, retry, deadlines and one error type. What objects mean is for the floors above;
//! nothing here knows a format.
//!
//! Network stores need a tokio runtime with time enabled. Local and memory stores use no timers.

mod classify;
mod error;
mod key;
pub mod limits;
mod list;
mod local;
mod lock;
mod open;
mod probe;
mod retry;
mod store;

pub use error::{BoxError, Error};
pub use lock::{Delete, LockMode, LockNew, Locks, Retention};
pub use open::{open_client, open_http};
pub use store::{ObjectInfo, Put, Store};
