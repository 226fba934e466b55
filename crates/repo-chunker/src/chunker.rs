//! What cutting needs once per repository: keyed tables and masks.

use crate::cdc::{Cdc, Gear};
use crate::{Cutter, Error, Params, Plan};

/// Cuts files of one repository; made once and shared between threads.
#[derive(Debug)]
pub struct Chunker {
    params: Params,
    pub(crate) gear: Gear,
    pub(crate) generic: Cdc,
    pub(crate) columnar: Cdc,
}

impl Chunker {
    /// Prepares tables for `params`, keyed with the repository's secret `seed`.
    pub fn new(params: Params, seed: u64) -> Result<Self, Error> {
        params.validate()?;
        Ok(Self {
            gear: Gear::new(seed),
            generic: Cdc::new(params.generic),
            columnar: Cdc::new(params.columnar),
            params,
        })
    }

    /// Returns the sizes in use.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Starts cutting one file at offset 0.
    pub fn cutter(&self, plan: Plan) -> Cutter<'_> {
        Cutter::new(self, plan)
    }
}
