//! The only place of this program that prints.

/// Prints a line of progress or result.
#[expect(
    clippy::print_stdout,
    reason = "a command-line tool answers on standard output"
)]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// Prints why the command fails.
#[expect(
    clippy::print_stderr,
    reason = "a command-line tool complains on standard error"
)]
pub(crate) fn complain(line: &str) {
    eprintln!("xtask: {line}");
}
