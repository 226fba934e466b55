//! The collector's walk over trees: tells `repository::gc` which blobs snapshots reach.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use repo_format::config::Operation;

use crate::archive::reach::reach;
use crate::archive::tree::Trees;
use crate::error::Result;
use crate::progress::Progress;
use crate::repository::{GcOptions, GcReport, Repository, collect};

impl Repository {
    /// Reclaims what no snapshot needs: condemns it in the log, and deletes what was condemned
    /// longer ago than the readers' grace.
    ///
    /// Runs beside writers, readers and other collectors. When `progress` asks to stop, what was
    /// done so far is committed, and the next run goes on from there. What is in the repository
    /// and cannot be located or read ends it before anything is condemned.
    pub async fn gc(&self, options: &GcOptions, progress: Arc<dyn Progress>) -> Result<GcReport> {
        self.writable()?;
        self.allowed(Operation::Delete)?;
        let options = options.clone();
        self.blocking(move |repository| {
            let progress = &*progress;
            let mark: &crate::repository::Mark<'_> = &|index, live, roots| {
                let trees = Trees::with(repository, Arc::clone(index));
                let touched = RwLock::new(BTreeSet::new());
                reach(&trees, roots.iter().copied(), progress, &|_, id| {
                    let place = live.locate(id)?;
                    let fresh = live.mark(&place);
                    let pack = place.location.segment.pack;
                    let known = || touched.read().unwrap_or_else(PoisonError::into_inner);
                    if fresh && !known().contains(&pack) {
                        let mut touched = touched.write().unwrap_or_else(PoisonError::into_inner);
                        touched.insert(pack);
                    }
                    Ok(fresh)
                })?;
                Ok(touched.into_inner().unwrap_or_else(PoisonError::into_inner))
            };
            collect(repository, &options, mark, progress)
        })
        .await
    }
}
