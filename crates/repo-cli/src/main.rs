//! The `repo` command.
fn main() {}
