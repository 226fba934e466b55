//! Tests of the public interface, on whole repositories.

mod check;
mod copy;
mod diff;
mod repair;
mod repository;
mod requests;
mod restore;
mod snapshot;
