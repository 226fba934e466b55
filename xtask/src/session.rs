//! The session in README.md, executed as a reader would: an empty directory, a fresh home.
//!
//! Between the two markers, every `$ ` line of a `console` block is run by one bash, so that `cd` and
//! `export` last. A line succeeds, or fails with the code its `# exit N` names. Shown output is prose:
//! ids and times differ, so it is not compared.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::process::{quote, target_dir};
use crate::report::say;

const BEGIN: &str = "<!-- session:begin -->";
const END: &str = "<!-- session:end -->";

/// What the script exits with when it reached its end, so that an `exit` inside is no success.
const FINISHED: i32 = 42;

/// One line of the session and the exit code it must have.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    command: String,
    exit: u8,
}

/// Runs the session with the debug build of `repo` first in `PATH`.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let readme = root.join("README.md");
    if !readme.exists() {
        say("xtask: there is no README.md, so no session to run");
        return Ok(());
    }
    let text = std::fs::read_to_string(&readme).map_err(|error| format!("README.md: {error}"))?;
    let lines = parse(&text)?;
    let programs = target_dir(root).join("debug");
    if !programs.join("repo").exists() {
        return Err("repo is not built; run: cargo build --bin repo".to_owned());
    }
    perform(&lines, &programs)
}

fn parse(text: &str) -> Result<Vec<Line>, String> {
    let mut lines: Vec<Line> = Vec::new();
    let (mut marked, mut closed, mut console, mut fenced) = (false, false, false, false);
    let mut continued = false;
    for raw in text.lines() {
        match raw.trim() {
            BEGIN => marked = true,
            END if marked => {
                marked = false;
                closed = true;
            }
            fence if fence.starts_with("```") => {
                console = !fenced && marked && fence == "```console";
                fenced = !fenced;
            }
            _ if !console => {}
            _ => {
                if continued {
                    let rest = raw.strip_prefix("> ").ok_or_else(|| {
                        format!("README.md: a continued line must begin with '> ': {raw}")
                    })?;
                    continued = push(&mut lines, rest, true)?;
                } else if let Some(command) = raw.strip_prefix("$ ") {
                    continued = push(&mut lines, command, false)?;
                }
            }
        }
    }
    if !closed || marked {
        return Err(format!(
            "README.md has no session between {BEGIN} and {END}"
        ));
    }
    if lines.is_empty() {
        return Err("README.md: the session has no command".to_owned());
    }
    Ok(lines)
}

/// Adds a line, or continues the last one; answers whether it goes on in the next.
fn push(lines: &mut Vec<Line>, text: &str, join: bool) -> Result<bool, String> {
    let (text, goes_on) = match text.strip_suffix('\\') {
        Some(text) => (text, true),
        None => (text, false),
    };
    let (command, exit) = match text.rsplit_once("# exit ") {
        Some((command, code)) => {
            let code = code.trim().parse();
            (
                command.trim_end(),
                code.map_err(|_| format!("README.md: not an exit code: {text}"))?,
            )
        }
        None => (text, 0),
    };
    match lines.last_mut() {
        Some(last) if join => {
            last.command.push_str(command);
            last.exit = exit;
        }
        _ => lines.push(Line {
            command: command.to_owned(),
            exit,
        }),
    }
    Ok(goes_on)
}

/// One bash program that runs every line and stops at the first with another exit code.
fn script(lines: &[Line]) -> String {
    let mut script = String::new();
    for line in lines {
        let command = quote(&line.command);
        let exit = line.exit;
        script.push_str(&format!(
            "printf '$ %s\\n' {command}\neval {command}\nstatus=$?\n\
             if [ $status -ne {exit} ]; then \
             printf 'session: exit %s, not {exit}, from: %s\\n' $status {command} >&2; exit 99; fi\n"
        ));
    }
    script.push_str(&format!("exit {FINISHED}\n"));
    script
}

fn perform(lines: &[Line], programs: &Path) -> Result<(), String> {
    let place = tempfile::tempdir().map_err(|error| format!("temporary directory: {error}"))?;
    let home = place.path().join("home");
    let work = place.path().join("work");
    for dir in [&home, &work] {
        std::fs::create_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    }
    let mut path = programs.as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());

    let mut bash = Command::new("bash");
    bash.arg("-c").arg(script(lines)).current_dir(&work);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("REPO_") || name.starts_with("XDG_") || name.starts_with("CARGO") {
            bash.env_remove(name.as_ref());
        }
    }
    let status = bash
        .env("PATH", path)
        .env("HOME", &home)
        .env("XDG_CONFIG_HOME", home.join("config"))
        .env("XDG_DATA_HOME", home.join("data"))
        .env("XDG_CACHE_HOME", home.join("cache"))
        .env("XDG_STATE_HOME", home.join("state"))
        .stdin(Stdio::null())
        .status()
        .map_err(|error| format!("bash: {error}"))?;
    if status.code() == Some(FINISHED) {
        Ok(())
    } else {
        Err(format!("README session: {status}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(session: &str) -> String {
        format!("# x\n{BEGIN}\n```console\n{session}\n```\n{END}\n")
    }

    fn outcome(session: &str) -> Result<(), String> {
        perform(&parse(&marked(session))?, Path::new("/nonexistent"))
    }

    #[test]
    fn commands_are_read_and_output_is_not() {
        let lines = parse(&marked(
            "$ repo init\nmade $ x\n$ repo cat \\\n> a  # exit 10",
        ))
        .expect("parses");
        let expected = [("repo init", 0), ("repo cat a", 10)];
        let expected = expected.map(|(command, exit)| Line {
            command: command.to_owned(),
            exit,
        });
        assert_eq!(lines, expected);
    }

    #[test]
    fn other_blocks_and_places_are_left_alone() {
        let text = format!(
            "```console\n$ a\n```\n{BEGIN}\n```sh\n$ b\n```\n```console\n$ c\n```\n{END}\n```console\n$ d\n```\n"
        );
        let lines = parse(&text).expect("parses");
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].command, "c");
    }

    #[test]
    fn a_readme_without_a_session_is_refused() {
        assert!(parse("# repo\n").is_err());
        assert!(parse(&format!("{BEGIN}\n```console\n$ a\n```\n")).is_err());
        assert!(parse(&marked("only output")).is_err());
        assert!(parse(&marked("$ a # exit soon")).is_err());
        assert!(parse(&marked("$ a \\\nb")).is_err());
    }

    #[test]
    fn exit_codes_are_held_and_state_lasts() {
        assert!(outcome("$ cd /\n$ test $PWD = /\n$ test -z \"$(ls $HOME)\"").is_ok());
        assert!(outcome("$ false  # exit 1").is_ok());
        assert!(outcome("$ false").is_err());
        assert!(outcome("$ true  # exit 1").is_err());
        assert!(outcome("$ false\n$ true").is_err());
        assert!(outcome("$ exit 0\n$ false").is_err());
    }
}
