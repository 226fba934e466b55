//! Tests of the public interface, on whole repositories.

mod check;
mod copy;
mod delta_races;
mod diff;
mod fixture;
mod gc;
mod parity;
mod reader;
mod repair;
mod repository;
mod requests;
mod restore;
mod snapshot;
mod usage;
