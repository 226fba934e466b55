//! When to ask again, and how long to wait for an answer.
//!
//! `object_store` retries by itself what is safe on the wire; this adds what it leaves out
//! (create-only puts whose answer was lost, bodies cut short, stores that retry nothing) and one
//! deadline per wait, so that a server gone half-way ends in an error and not in a hang.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use repo_format::ErrorKind;
use tokio::time::Instant;

use crate::error::Error;
use crate::limits::{RETRY_ATTEMPTS_MAX, RETRY_DELAY_MAX, RETRY_DELAY_MIN};

/// How long one operation is tried.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retry {
    /// Zero: once.
    pub(crate) timeout: Duration,
}

impl Retry {
    pub(crate) fn start(self) -> Backoff {
        Backoff {
            timeout: self.timeout,
            started: (!self.timeout.is_zero()).then(Instant::now),
            attempts: 0,
        }
    }

    /// Runs `attempt` until it succeeds, fails for good, or time is up.
    pub(crate) async fn run<T, F>(self, mut attempt: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut backoff = self.start();
        loop {
            match attempt().await {
                Ok(value) => return Ok(value),
                Err(error) if backoff.again(&error).await => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// The attempts made so far of one operation.
#[derive(Debug)]
pub(crate) struct Backoff {
    timeout: Duration,
    /// Absent when nothing is retried: then no clock is read.
    started: Option<Instant>,
    attempts: u32,
}

impl Backoff {
    /// Sleeps and answers true when the operation should be tried again after `error`.
    pub(crate) async fn again(&mut self, error: &Error) -> bool {
        let Some(started) = self.started else {
            return false;
        };
        if error.kind() != ErrorKind::Unavailable {
            return false;
        }
        self.attempts += 1;
        let delay = delay(self.attempts);
        if self.attempts >= RETRY_ATTEMPTS_MAX || started.elapsed() + delay > self.timeout {
            return false;
        }
        tracing::debug!(attempt = self.attempts, ?delay, %error, "store unavailable, asking again");
        tokio::time::sleep(delay).await;
        true
    }
}

/// Half of the pause is fixed and half is chance, so that many clients do not return as one.
fn delay(attempt: u32) -> Duration {
    let doublings = attempt.saturating_sub(1).min(16);
    let full = RETRY_DELAY_MIN
        .saturating_mul(1 << doublings)
        .min(RETRY_DELAY_MAX);
    let chance = RandomState::new().build_hasher().finish() % 1024;
    let chance = u32::try_from(chance).unwrap_or(0);
    full / 2 + full / 2 * chance / 1024
}

/// Whether waits end: those for a network do, those for a disk or memory need no timer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) bounded: bool,
}

impl Patience {
    /// The outcome of `work`, or the store's silence as an error of its own.
    pub(crate) async fn wait<T>(
        self,
        limit: Duration,
        work: impl Future<Output = object_store::Result<T>>,
    ) -> object_store::Result<T> {
        if !self.bounded {
            return work.await;
        }
        match tokio::time::timeout(limit, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(object_store::Error::Generic {
                store: "deadline",
                source: format!("no answer within {} s", limit.as_secs()).into(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::delay;
    use crate::limits::{RETRY_DELAY_MAX, RETRY_DELAY_MIN};

    #[test]
    fn pauses_grow_to_a_bound() {
        for attempt in 1..40 {
            let pause = delay(attempt);
            assert!(pause >= RETRY_DELAY_MIN / 2 && pause <= RETRY_DELAY_MAX);
        }
        assert!(delay(30) >= RETRY_DELAY_MAX / 2);
    }
}
