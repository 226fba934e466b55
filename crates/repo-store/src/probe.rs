//! Asks a store whether it honours create-only puts.
//!
//! The whole layout rests on them, and some servers take the condition and overwrite all the
//! same. There is no way to know but to try.

use std::hash::{BuildHasher, Hasher, RandomState};

use bytes::Bytes;
use repo_format::ErrorKind;

use crate::error::Error;
use crate::key;
use crate::lock::Delete;
use crate::store::Store;

impl Store {
    /// Writes an object twice with different content; false means that the second one won.
    ///
    /// Leaves nothing behind where the store allows deletes; otherwise one small object named
    /// `probe-` and a random number, which no reader looks at. Costs four requests.
    pub async fn probe_create_only(&self) -> Result<bool, Error> {
        let name = format!("probe-{:016x}{:016x}", chance(), chance());
        let path = key::parse(&name)?;
        self.put_new(&name, Bytes::from_static(b"first")).await?;
        let second = Bytes::from_static(b"other");
        let rewritten = self.retry.run(|| self.create(&path, &name, &second)).await;
        let kept = match rewritten {
            Ok(_) => Ok(false),
            // The answer alone is not proof: the object must still be the first one.
            Err(error) if error.kind() == ErrorKind::Conflict => self
                .get(&name, second.len() as u64)
                .await
                .map(|found| found.as_ref() == b"first"),
            Err(error) => Err(error),
        };
        match self.delete(&name).await {
            Ok(Delete::Deleted | Delete::Missing) => {}
            stays => tracing::debug!(?stays, "the probe object stays"),
        }
        kept
    }
}

fn chance() -> u64 {
    RandomState::new().build_hasher().finish()
}
