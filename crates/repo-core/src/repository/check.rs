//! Verification. Filled in by the walk over snapshots in `archive`.
/// x
#[derive(Debug, Clone, Copy)]
pub struct CheckOptions;
/// x
#[derive(Debug, Clone, Copy)]
pub struct CheckReport;
/// x
#[derive(Debug, Clone, Copy)]
pub struct ReadData;
