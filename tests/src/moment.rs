//! The real clock, by which processes are met at random moments of their work.

use std::thread;
use std::time::{Duration, Instant};

/// Waits.
#[expect(
    clippy::disallowed_methods,
    reason = "the moment of a kill is a moment of the real clock"
)]
pub fn wait(delay: Duration) {
    thread::sleep(delay);
}

/// The time now.
#[expect(
    clippy::disallowed_methods,
    reason = "the moments of kills are spread over a measured time"
)]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}
