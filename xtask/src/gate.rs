//! The gate: the steps of `ci` and `quick`, timed, stopping at the first failure.
//!
//! What a step checks is decided elsewhere; this file owns their order and what a failure prints.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::process::Invocation;
use crate::report::say;
use crate::{licenses, session, tidy};

/// Floors whose unit tests answer within a minute.
const QUICK: &str = "-p repo-chunker -p repo-format -p repo-store -p repo-core";

/// One step of a gate.
struct Step {
    name: &'static str,
    action: Action,
}

enum Action {
    /// Another program.
    Run(Invocation),
    /// A function of this program, and the `cargo xtask` command that repeats it alone.
    Call(&'static str, fn(&Path) -> Result<(), String>),
}

impl Step {
    fn run(name: &'static str, invocation: Invocation) -> Self {
        Self {
            name,
            action: Action::Run(invocation),
        }
    }

    fn call(
        name: &'static str,
        command: &'static str,
        function: fn(&Path) -> Result<(), String>,
    ) -> Self {
        Self {
            name,
            action: Action::Call(command, function),
        }
    }

    fn repeat(&self) -> String {
        match &self.action {
            Action::Run(invocation) => invocation.to_string(),
            Action::Call(command, _) => format!("cargo xtask {command}"),
        }
    }

    fn perform(&self, root: &Path) -> Result<(), String> {
        match &self.action {
            Action::Run(invocation) => invocation.run(root),
            Action::Call(_, function) => function(root),
        }
    }
}

/// Everything a change must pass.
pub(crate) fn ci(root: &Path) -> Result<(), String> {
    let nextest = Invocation::new("cargo nextest --version").works(root);
    let deny = Invocation::new("cargo deny --version").works(root);
    perform(root, &ci_steps(nextest, deny))
}

/// The part of the gate to run after every edit.
pub(crate) fn quick(root: &Path) -> Result<(), String> {
    perform(root, &quick_steps())
}

fn ci_steps(nextest: bool, deny: bool) -> Vec<Step> {
    let tests = if nextest {
        "cargo nextest run --workspace"
    } else {
        "cargo test --workspace --lib --bins --tests"
    };
    let mut steps = vec![
        fmt(),
        Step::run(
            "fmt of fuzz",
            Invocation::new("cargo fmt --manifest-path fuzz/Cargo.toml --check"),
        ),
        Step::call("tidy", "tidy", tidy::run),
        Step::run(
            "tools for tests",
            Invocation::new("bash tests/tools/install.sh"),
        ),
        Step::run(
            "clippy",
            Invocation::new("cargo clippy --workspace --all-targets -- -D warnings"),
        ),
        // Without the engine the targets need no C++ compiler, and still must compile.
        Step::run(
            "clippy of fuzz",
            Invocation::new(
                "cargo clippy --manifest-path fuzz/Cargo.toml --no-default-features -- -D warnings",
            ),
        ),
        // The end-to-end tests and the README session start the real program.
        Step::run("build", Invocation::new("cargo build --workspace --bins")),
        Step::run("tests", Invocation::new(tests)),
        Step::run("doc tests", Invocation::new("cargo test --workspace --doc")),
        Step::run(
            "rustdoc",
            Invocation::new("cargo doc --workspace --no-deps").env("RUSTDOCFLAGS", "-D warnings"),
        ),
    ];
    steps.push(if deny {
        Step::run("deny", Invocation::new("cargo deny check"))
    } else {
        // Bans and sources are rules of tidy; licenses need cargo's resolution.
        Step::call("licenses", "licenses", licenses::run)
    });
    steps.push(Step::call("README session", "session", session::run));
    steps
}

fn quick_steps() -> Vec<Step> {
    vec![
        fmt(),
        Step::call("tidy", "tidy", tidy::run),
        Step::run(
            "clippy",
            Invocation::new(&format!(
                "cargo clippy {QUICK} --lib --tests -- -D warnings"
            )),
        ),
        Step::run(
            "unit tests",
            Invocation::new(&format!("cargo test {QUICK} --lib")),
        ),
    ]
}

fn fmt() -> Step {
    Step::run("fmt", Invocation::new("cargo fmt --all --check"))
}

fn perform(root: &Path, steps: &[Step]) -> Result<(), String> {
    let mut total = Duration::ZERO;
    for step in steps {
        let (took, outcome) = timed(|| step.perform(root));
        total += took;
        match outcome {
            Ok(()) => say(&format!(
                "xtask: {} ok in {:.1} s",
                step.name,
                took.as_secs_f64()
            )),
            Err(why) => {
                return Err(format!(
                    "{} FAILED in {:.1} s: {why}\nrepeat with: {}",
                    step.name,
                    took.as_secs_f64(),
                    step.repeat()
                ));
            }
        }
    }
    say(&format!(
        "xtask: all {} steps ok in {:.1} s",
        steps.len(),
        total.as_secs_f64()
    ));
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the duration of a step is only shown; nothing decides by it"
)]
fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = work();
    (start.elapsed(), result)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(_: &Path) -> Result<(), String> {
        Err("broken".to_owned())
    }

    fn names(steps: &[Step]) -> Vec<&str> {
        steps.iter().map(|step| step.name).collect()
    }

    #[test]
    fn the_first_failure_stops_the_gate_and_names_its_command() {
        let steps = [
            Step::run("first", Invocation::new("true")),
            Step::call("second", "tidy", fails),
            Step::run("third", Invocation::new("no-such-program-here")),
        ];
        let message = perform(Path::new("."), &steps).expect_err("the second step fails");
        assert!(message.starts_with("second FAILED"), "{message}");
        assert!(
            message.ends_with("repeat with: cargo xtask tidy"),
            "{message}"
        );
        assert!(perform(Path::new("."), &steps[..1]).is_ok());
    }

    #[test]
    fn a_failed_program_is_repeated_by_its_own_line() {
        let steps = [Step::run("only", Invocation::new("false").env("A", "b c"))];
        let message = perform(Path::new("."), &steps).expect_err("false fails");
        assert!(message.ends_with("repeat with: A='b c' false"), "{message}");
    }

    #[test]
    fn the_gate_is_whole_whatever_is_installed() {
        for (nextest, deny) in [(false, false), (true, true)] {
            let steps = ci_steps(nextest, deny);
            assert_eq!(steps.len(), 12, "{:?}", names(&steps));
            assert_eq!(names(&steps)[0], "fmt");
            assert_eq!(names(&steps)[11], "README session");
        }
        let with = ci_steps(true, true);
        let without = ci_steps(false, false);
        assert_eq!(with[7].repeat(), "cargo nextest run --workspace");
        assert!(without[7].repeat().starts_with("cargo test --workspace"));
        assert_eq!(with[10].repeat(), "cargo deny check");
        assert_eq!(without[10].repeat(), "cargo xtask licenses");
    }
}
