//! Tests of the public interface, on whole repositories.

mod check;
mod delta_races;
mod diff;
mod fixture;
mod gc;
mod repository;
mod requests;
mod restore;
mod snapshot;
