//! Tests of the public interface: tables made by hand, so that every corner of a log can be had.

mod fixture;
mod log;
mod meddling;
mod restore;
mod snapshot;
