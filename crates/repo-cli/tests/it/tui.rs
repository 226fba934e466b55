//! The screens, on a real terminal: a pseudo-terminal whose output is read as a terminal would.
#![expect(
    clippy::disallowed_methods,
    reason = "a program on a terminal does not tell when it has drawn or ended"
)]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZeroU16;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::driver::{Home, tree};

const ROWS: NonZeroU16 = NonZeroU16::new(24).expect("more than none");
const COLUMNS: NonZeroU16 = NonZeroU16::new(100).expect("more than none");
const PATIENCE: Duration = Duration::from_secs(30);

/// A program on a terminal, and what it shows.
struct Screen {
    child: Child,
    keyboard: File,
    terminal: File,
    parser: Arc<Mutex<vt100::Parser>>,
}

impl Screen {
    fn start(home: &Home, arguments: &[&str]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).expect("rights");
        unlockpt(&master).expect("a lock that opens");
        let name = ptsname(&master, Vec::new()).expect("a name");
        let path = std::path::Path::new(std::ffi::OsStr::from_bytes(name.as_bytes()));
        let open = || File::options().read(true).write(true).open(path);
        let terminal = open().expect("the other end");
        let size = Winsize {
            ws_row: ROWS.get(),
            ws_col: COLUMNS.get(),
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&terminal, size).expect("a size");
        let end = || Stdio::from(terminal.try_clone().expect("a copy"));
        let child = home
            .command(arguments)
            .env("TERM", "xterm-256color")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("a run");
        let parser = Arc::new(Mutex::new(vt100::Parser::new(ROWS, COLUMNS, 0)));
        let mut output = File::from(master);
        let keyboard = output.try_clone().expect("a copy");
        let shown = Arc::clone(&parser);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                shown.lock().expect("a lock").process(&bytes[..count]);
            }
        });
        Self {
            child,
            keyboard,
            terminal,
            parser,
        }
    }

    /// Gives the terminal another size, and tells the program as the system would.
    fn resize(&mut self, rows: u16, columns: u16) {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let (rows, columns) = (NonZeroU16::new(rows), NonZeroU16::new(columns));
        let (rows, columns) = (rows.expect("rows"), columns.expect("columns"));
        let mut parser = self.parser.lock().expect("a lock");
        parser.screen_mut().set_size(rows, columns);
        drop(parser);
        tcsetwinsize(&self.terminal, size).expect("a size");
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::WINCH).expect("a signal");
    }

    fn text(&self) -> String {
        self.parser.lock().expect("a lock").screen().contents()
    }

    /// Waits until the screen shows all of `texts`.
    #[track_caller]
    fn shows(&self, texts: &[&str]) {
        let until = Instant::now() + PATIENCE;
        while !texts.iter().all(|text| self.text().contains(text)) {
            assert!(Instant::now() < until, "no {texts:?} on:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("pressed");
    }

    /// Waits for the end; the exit code.
    fn ends(&mut self) -> Option<i32> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a status") {
                return status.code();
            }
            assert!(Instant::now() < until, "it goes on:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether the terminal is as it was: lines, echo, and the screen with what was there.
    fn is_as_before(&self) -> bool {
        let modes = tcgetattr(&self.terminal).expect("modes").local_modes;
        let alternate = self
            .parser
            .lock()
            .expect("a lock")
            .screen()
            .alternate_screen();
        modes.contains(LocalModes::ECHO | LocalModes::ICANON) && !alternate
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // One that has ended cannot be ended again; after a failed test it would go on.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

const DOWN: &str = "\x1b[B";
const LEFT: &str = "\x1b[D";
const ESCAPE: &str = "\x1b";
const ENTER: &str = "\r";

fn history() -> Home {
    let home = Home::plain();
    home.write("data/docs/plan", "the first plan\n");
    home.write("data/docs/other", "another\n");
    home.write("data/blob", [0, 1, 2, 255]);
    home.snapshot(["data", "--time", "2026-03-01T10:00:00Z"]);
    home.write("data/docs/plan", "a better plan, much longer\n");
    home.snapshot(["data", "--time", "2026-03-02T10:00:00Z", "--tag", "better"]);
    home
}

#[test]
fn snapshots_are_opened_looked_at_and_restored() {
    let home = history();
    let mut screen = Screen::start(&home, &["tui"]);
    screen.shows(&[
        "2 snapshots",
        "2026-03-02 10:00:00",
        "[better]",
        "Up/k Down/j PgUp PgDn Home End move  Enter/Right open  q quit  Ctrl-C quit",
    ]);
    screen.press(ENTER);
    screen.shows(&[
        "2 entries",
        "docs/",
        "blob",
        "Enter/Right open  Esc/Left/Backspace back  Space select",
        "v versions  r restore  q quit  Ctrl-C quit",
    ]);

    // What is no text is shown in hexadecimal.
    screen.press(&format!("{DOWN}{ENTER}"));
    screen.shows(&["000000  00 01 02 ff", "scroll", "Esc/Left/Backspace back"]);
    screen.press(ESCAPE);
    screen.shows(&["2 entries"]);
    screen.press(&format!("k{ENTER}"));
    screen.shows(&["docs/  2 entries", "other", "plan"]);

    // Versions of a file, and the older one of them.
    screen.press(&format!("{DOWN}v"));
    screen.shows(&["docs/plan  2 versions", "27 B", "15 B", "in 1 snapshot"]);
    screen.press(&format!("{DOWN}{ENTER}"));
    screen.shows(&["the first plan"]);
    screen.press(ESCAPE);
    screen.shows(&["2 versions"]);
    screen.press("r");
    screen.shows(&["restore 1 path of", "into directory:"]);
    screen.shows(&["type a path  Backspace delete  Enter restore  Esc back  Ctrl-C quit"]);
    screen.press(&format!("older{ENTER}"));
    screen.shows(&["restored 1 file, 15 B written"]);
    let older = tree(&home.path("older"));
    assert_eq!(
        older[std::path::Path::new("docs/plan")],
        b"the first plan\n"
    );
    assert_eq!(older.len(), 1);

    // A selection of the newest snapshot.
    screen.press(ESCAPE);
    screen.shows(&["docs/  2 entries"]);
    screen.press(LEFT);
    screen.shows(&["2 entries", "blob"]);
    screen.press("  r");
    screen.shows(&["2 selected", "restore 2 paths of"]);
    screen.press(&format!("wrong{}newer{ENTER}", "\x7f".repeat(5)));
    screen.shows(&["restored 3 files"]);
    assert_eq!(tree(&home.path("newer")), tree(&home.path("data")));

    screen.press("q");
    assert_eq!(screen.ends(), Some(0));
    assert!(screen.is_as_before());
}

#[test]
fn a_narrow_terminal_shows_all_keys_and_an_empty_repository_its_screen() {
    let home = history();
    let mut screen = Screen::start(&home, &["tui"]);
    screen.shows(&["2 snapshots"]);
    screen.press(ENTER);
    screen.shows(&["2 entries"]);
    screen.resize(12, 50);
    screen.shows(&[
        "docs/",
        "Up/k Down/j PgUp PgDn Home End move",
        "Enter/Right open  Esc/Left/Backspace back",
        "Space select  v versions  r restore  q quit",
    ]);
    // Every other key of the list does what it says: to the end, back to the start, and up.
    screen.press("\x1b[F\x7f");
    screen.shows(&["2 snapshots"]);
    screen.press("q");
    assert_eq!(screen.ends(), Some(0));

    let home = Home::plain();
    let mut screen = Screen::start(&home, &["tui"]);
    screen.shows(&["0 snapshots", "there is no snapshot"]);
    screen.press(&format!("{ENTER}{DOWN}q"));
    assert_eq!(screen.ends(), Some(0));
    assert!(screen.is_as_before());
}

#[test]
fn a_signal_and_a_failure_leave_the_terminal_as_it_was() {
    let home = history();
    let mut screen = Screen::start(&home, &["tui"]);
    screen.shows(&["2 snapshots"]);
    let pid = rustix::process::Pid::from_child(&screen.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal");
    assert_eq!(screen.ends(), Some(130));
    assert!(screen.is_as_before());

    // What cannot be read is said, and the screens go on.
    std::fs::remove_dir_all(home.path("repository/packs")).expect("it was there");
    let mut screen = Screen::start(&home, &["tui", "--no-cache"]);
    screen.shows(&["2 snapshots"]);
    screen.press(ENTER);
    screen.shows(&["2 snapshots", "packs/"]);
    screen.press("\x03");
    assert_eq!(screen.ends(), Some(0));
    assert!(screen.is_as_before());

    let line = home.fails(1, ["tui"]);
    assert!(line.contains("need a terminal"), "{line}");
}
