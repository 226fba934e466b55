//! docs/manual.md is what happens: its console blocks run, and say what the manual says.
//!
//! One bash runs all lines in order, so that `cd` and `export` last. Ids, times and sizes differ from
//! run to run and are compared as such. `REPO_BLESS=1 cargo test -p repo-cli --test it manual` writes
//! what was printed into the manual.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::driver::Home;

/// A line of a block that is run, with what it printed.
struct Step {
    /// Last line of the command, from 0.
    end: usize,
    /// Its lines; those after the first are marked with `>` in the manual.
    command: String,
    exit: u8,
    /// Lines of the manual that are its output.
    output: Vec<String>,
}

fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            inside = line == "```console";
            continue;
        }
        if !inside {
            continue;
        }
        if let Some(more) = line.strip_prefix("> ") {
            let step = steps.last_mut().expect("a command that goes on");
            assert!(step.output.is_empty(), "line {number} is not an output");
            step.command.push('\n');
            step.command.push_str(more);
            step.end = number;
        } else if let Some(command) = line.strip_prefix("$ ") {
            let (command, exit) = match command.rsplit_once("  # exit ") {
                Some((command, exit)) => (command, exit.parse().expect("an exit code")),
                None => (command, 0),
            };
            steps.push(Step {
                end: number,
                command: command.to_owned(),
                exit,
                output: Vec::new(),
            });
        } else {
            let last = steps.last_mut().expect("a command before its output");
            last.output.push(line.to_owned());
        }
    }
    steps
}

/// Runs all steps; what each of them printed.
fn perform(steps: &[Step], home: &Home) -> Vec<Vec<String>> {
    const MARK: &str = "\u{1}end of a step ";
    let mut script = String::new();
    for step in steps {
        let quoted = step.command.replace('\'', "'\\''");
        script.push_str(&format!(
            "eval '{quoted}' 2>&1\nprintf '\\n{MARK}%s\\n' $?\n"
        ));
    }
    let you = home.path("you");
    std::fs::create_dir(&you).expect("a directory");
    let binary = Path::new(env!("CARGO_BIN_EXE_repo"))
        .parent()
        .expect("a parent");
    let path = std::env::var("PATH").expect("a path");
    let run = Command::new("bash")
        .args(["-c", &script])
        .current_dir(&you)
        .env_clear()
        .env("PATH", format!("{}:{path}", binary.display()))
        .env("HOME", &you)
        .env("USER", "you")
        .env("TZ", "UTC")
        .env("LC_ALL", "C")
        .env("REPO_HOST", "laptop")
        .stdin(Stdio::null())
        .output()
        .expect("bash is there");
    let text = String::from_utf8(run.stdout).expect("text");
    let text = text.replace(&*home.text(""), "/home/");
    let parts = text.split_inclusive(MARK);
    let mut outputs = Vec::new();
    let mut exits = Vec::new();
    for part in parts {
        let (code, part) = match outputs.len() {
            0 => (None, part),
            _ => {
                let (code, rest) = part.split_once('\n').expect("a line");
                (Some(code.parse::<u8>().expect("a code")), rest)
            }
        };
        exits.extend(code);
        let printed = part.strip_suffix(MARK).unwrap_or(part);
        let lines: Vec<String> = printed
            .trim_end_matches('\n')
            .lines()
            .map(str::to_owned)
            .collect();
        outputs.push(lines);
    }
    outputs.truncate(steps.len());
    assert_eq!(exits.len(), steps.len(), "{text}");
    for ((step, exit), output) in steps.iter().zip(exits).zip(&outputs) {
        assert_eq!(exit, step.exit, "{}: {output:?}", step.command);
    }
    outputs
}

/// The line with `ID`, `TIME` and `N` for what differs, and single spaces.
fn normal(line: &str) -> String {
    let mut words = Vec::new();
    for word in line.split_whitespace() {
        let mut normal = String::new();
        let mut token = String::new();
        for c in word.chars().chain([' ']) {
            let inside = c.is_ascii_alphanumeric()
                || (matches!(c, '.' | ',' | ':' | '-')
                    && token.starts_with(|c: char| c.is_ascii_digit()));
            if inside {
                token.push(c);
                continue;
            }
            let trailing = token.trim_end_matches(['.', ',', ':', '-']).len();
            normal.push_str(&token_of(&token[..trailing]));
            normal.push_str(&token[trailing..]);
            token.clear();
            if c != ' ' {
                normal.push(c);
            }
        }
        words.push(normal);
    }
    words
        .join(" ")
        .replace("N GiB", "N")
        .replace("N MiB", "N")
        .replace("N KiB", "N")
        .replace("N B", "N")
}

fn token_of(token: &str) -> String {
    let hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    let digits = token.bytes().filter(u8::is_ascii_digit).count();
    if token.len() >= 8 && token.bytes().all(hex) {
        // More of an id than its length is not said anywhere.
        return "ID".to_owned();
    }
    let (first, rest) = match token.split_once("..") {
        Some((first, rest)) => (first, Some(rest)),
        None => (token, None),
    };
    if let Some(rest) = rest {
        return format!("{}..{}", token_of(first), token_of(rest));
    }
    if digits >= 6 && token.contains([':', '-']) {
        return "TIME".to_owned();
    }
    if digits > 0
        && token
            .bytes()
            .all(|c| c.is_ascii_digit() || c == b'.' || c == b',')
    {
        return "N".to_owned();
    }
    token.to_owned()
}

#[test]
fn what_the_manual_says_happens() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/manual.md");
    let text = std::fs::read_to_string(&path).expect("the manual");
    let steps = steps(&text);
    assert!(steps.len() > 20, "the manual has examples");
    let home = Home::new();
    let outputs = perform(&steps, &home);
    if std::env::var_os("REPO_BLESS").is_some() {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for (step, output) in steps.iter().zip(outputs).rev() {
            let from = step.end + 1;
            lines.splice(from..from + step.output.len(), output);
        }
        std::fs::write(&path, lines.join("\n") + "\n").expect("the manual");
        return;
    }
    for (step, output) in steps.iter().zip(&outputs) {
        let normalised =
            |lines: &[String]| -> Vec<String> { lines.iter().map(|l| normal(l)).collect() };
        assert_eq!(
            normalised(output),
            normalised(&step.output),
            "{} (REPO_BLESS=1 writes what is printed)",
            step.command
        );
    }
}

#[test]
fn only_what_differs_from_run_to_run_is_set_aside() {
    for (line, expected) in [
        (
            "a3f09b12  2026-03-01 10:00:00  laptop",
            "ID TIME TIME laptop",
        ),
        (
            "snapshot a3f09b12 saved: 3 files, 1.2 MiB in 0.05 s",
            "snapshot ID saved: N files, N in N s",
        ),
        (
            "in a3f09b12..00112233 (3 snapshots)",
            "in ID..ID (N snapshots)",
        ),
        ("M docs/plan.txt", "M docs/plan.txt"),
        ("@@ -1,3 +1,4 @@", "@@ -N +N @@"),
        ("added", "added"),
    ] {
        assert_eq!(normal(line), expected);
    }
}

/// The pages of all commands, by the words of the command.
fn pages(home: &Home) -> BTreeMap<String, String> {
    std::fs::create_dir(home.path("man")).expect("a directory");
    home.ok(["completions", "--man", "man"]);
    let pages = std::fs::read_dir(home.path("man")).expect("a directory");
    let page = |file: std::io::Result<std::fs::DirEntry>| {
        let path = file.expect("a page").path();
        let name = path.file_stem().and_then(|name| name.to_str());
        let text = std::fs::read_to_string(&path).expect("text");
        (name.expect("a name").to_owned(), text)
    };
    pages.map(page).collect()
}

/// The names of commands that no other command is below, with spaces: they are what can be run.
fn commands(pages: &BTreeMap<String, String>) -> Vec<String> {
    let is_group = |name: &String| {
        let below = format!("{name}-");
        // A name may have a hyphen of its own.
        pages.contains_key(name) && pages.keys().any(|page| page.starts_with(&below))
    };
    let mut names = Vec::new();
    for name in pages.keys().filter(|name| !is_group(name)) {
        let mut groups: Vec<&String> = pages
            .keys()
            .filter(|group| is_group(group) && name.starts_with(&format!("{group}-")))
            .collect();
        groups.sort_by_key(|group| group.len());
        let group = groups.last().expect("all are below the program itself");
        let own = &name[group.len() + 1..];
        names.push(format!("{} {own}", group.replace('-', " ")));
    }
    names
}

#[test]
fn every_command_has_a_page() {
    let home = Home::new();
    let pages = pages(&home);
    for (name, page) in &pages {
        assert!(
            page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"),
            "{name}"
        );
    }
    for name in ["repo", "repo-key-rotate", "repo-pg-archive-push"] {
        assert!(pages.contains_key(name), "{name}");
    }
    assert!(pages["repo-find"].contains("\\-\\-content"));
    home.fails(2, ["completions"]);
    home.fails(1, ["completions", "--man", "nowhere"]);
}

#[test]
fn completions_know_every_command() {
    let home = Home::new();
    let commands = commands(&pages(&home));
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = home.ok(["completions", shell]);
        for command in &commands {
            let last = command.rsplit(' ').next().expect("a word");
            assert!(script.contains(last), "{shell}: {command}");
        }
    }
    // The one of the shell that is everywhere is read by it, and completes.
    home.write("repo.bash", home.ok(["completions", "bash"]));
    let said = Command::new("bash")
        .args(["-c", "source repo.bash && complete -p repo && COMP_WORDS=(repo fi) COMP_CWORD=1 && _repo repo fi repo && echo \"${COMPREPLY[@]}\""])
        .current_dir(home.path(""))
        .output()
        .expect("bash is there");
    let said = String::from_utf8(said.stdout).expect("text");
    assert!(
        said.contains("-F _repo repo\n") && said.ends_with("find\n"),
        "{said}"
    );
}

#[test]
fn the_manual_covers_every_command() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/manual.md");
    let text = std::fs::read_to_string(&path).expect("the manual");
    let steps = steps(&text);
    for command in commands(&pages(&Home::new())) {
        // What needs a server or a person is told and not run.
        let told = command.starts_with("repo pg ") || command == "repo tui";
        let runs = |step: &Step| step.command.contains(&command);
        assert!(
            steps.iter().any(runs) || (told && text.contains(&command)),
            "nothing about {command}"
        );
    }
}
