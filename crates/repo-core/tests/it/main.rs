//! Tests of the public interface, on whole repositories.

mod check;
mod diff;
mod restore;
