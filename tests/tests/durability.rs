//! The order in which the real binary makes things durable on a local disk, from a trace of its
//! system calls: nothing is named before it is safe, nothing is deleted before that is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use repo_testkit::data::random;
use repo_testkit::tool;
use repo_tests::program::{Home, Run, binary};

/// Calls that matter: what makes a name, takes it away, or makes it last.
const CALLS: &str = "trace=fsync,fdatasync,link,linkat,rename,renameat,renameat2,unlink,unlinkat,\
                     mkdir,mkdirat,openat,creat";

/// What one successful call did, with paths below the repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A file or a directory was synced.
    Sync(String),
    /// The second name was made for the first.
    Link(String, String),
    Unlink(String),
    MakeDirectory(String),
    /// A file was made, under a name that is no object's.
    Create(String),
}

/// The events in the order in which the calls ended.
struct Trace(Vec<Event>);

impl Trace {
    /// Runs the binary under the eyes of strace.
    fn of(home: &Home, arguments: &[&str]) -> Self {
        let log = home.path("trace");
        let mut command = home.command(tool("bin/strace"));
        command
            .args(["-f", "-y", "-s", "4096", "-qq", "-e", CALLS, "-o"])
            .arg(&log)
            .arg(binary())
            .args(arguments);
        let output = command.output().expect("strace runs");
        assert_eq!(Run::of(&output).expect(0).stderr, "");
        let root = home.path("repository");
        let root = fs::canonicalize(root).expect("a repository");
        let text = fs::read_to_string(log).expect("a trace");
        Self::parse(&text, root.to_str().expect("UTF-8"))
    }

    /// A call that another thread interrupted is two lines: what it was about, and how it ended. It
    /// counts where it ended: before that nobody may rely on it.
    fn parse(text: &str, root: &str) -> Self {
        let mut begun: BTreeMap<&str, String> = BTreeMap::new();
        let mut events = Vec::new();
        for line in text.lines() {
            let (thread, call) = line.split_once(' ').expect("a thread and its call");
            let call = call.trim_start();
            let whole = if let Some(call) = call.strip_suffix(" <unfinished ...>") {
                begun.insert(thread, call.to_owned());
                continue;
            } else if let Some(rest) = call.strip_prefix("<... ") {
                let (_, rest) = rest.split_once(" resumed>").expect("a resumed call");
                begun.remove(thread).expect("its begin") + rest
            } else {
                call.to_owned()
            };
            events.extend(event(&whole, root));
        }
        Self(events)
    }

    /// The place of the first event of which `is` is true, from `from` on.
    fn find(&self, from: usize, is: impl Fn(&Event) -> bool) -> Option<usize> {
        let rest = self.0[from..].iter();
        rest.enumerate()
            .find(|(_, event)| is(event))
            .map(|(at, _)| at + from)
    }

    /// Where objects below `prefix` got their names, in order.
    fn made(&self, prefix: &str) -> Vec<(usize, String, String)> {
        let mut made = Vec::new();
        for (at, event) in self.0.iter().enumerate() {
            if let Event::Link(staged, key) = event
                && key.starts_with(prefix)
            {
                made.push((at, staged.clone(), key.clone()));
            }
        }
        made
    }

    /// Where objects below `prefix` were deleted.
    fn deleted(&self, prefix: &str) -> Vec<(usize, String)> {
        let mut deleted = Vec::new();
        for (at, event) in self.0.iter().enumerate() {
            if let Event::Unlink(key) = event
                && key.starts_with(prefix)
                && !key.contains('#')
            {
                deleted.push((at, key.clone()));
            }
        }
        deleted
    }

    /// The object was synced before it got its name and never written since, and its directory after;
    /// gives where all of that was done.
    #[track_caller]
    fn durable(&self, at: usize, staged: &str, key: &str) -> usize {
        let synced = self.find(0, |event| *event == Event::Sync(staged.to_owned()));
        assert!(
            synced.is_some_and(|synced| synced < at),
            "{key} is linked before it is synced"
        );
        let holder = parent(key);
        let done = self.find(at, |event| *event == Event::Sync(holder.clone()));
        assert!(done.is_some(), "the directory of {key} is never synced");
        done.unwrap_or(self.0.len())
    }

    /// Every directory that was made is synced into the one above before `end`.
    #[track_caller]
    fn directories_last(&self, end: usize) {
        for (at, event) in self.0[..end].iter().enumerate() {
            if let Event::MakeDirectory(made) = event {
                let holder = Event::Sync(parent(made));
                let synced = self.find(at, |event| *event == holder);
                assert!(
                    synced.is_some_and(|synced| synced < end),
                    "{made} may be lost"
                );
            }
        }
    }

    /// Nothing gets the name of an object otherwise than by the link of a staged file.
    #[track_caller]
    fn only_links(&self) {
        for event in &self.0 {
            match event {
                Event::Create(path) => assert!(path.contains('#'), "{path} is written in place"),
                Event::Link(staged, key) => {
                    assert!(staged.starts_with(&format!("{key}#")), "{staged} as {key}");
                }
                _ => {}
            }
        }
    }
}

fn parent(key: &str) -> String {
    key.rsplit_once('/')
        .map_or("", |(parent, _)| parent)
        .to_owned()
}

/// What a successful call below `root` did.
fn event(call: &str, root: &str) -> Option<Event> {
    let (call, result) = call.rsplit_once(" = ")?;
    if result.starts_with('-') {
        return None;
    }
    let (name, arguments) = call.trim_end().split_once('(')?;
    let below = |path: &str| {
        let rest = path.strip_prefix(root)?;
        let rest = rest
            .strip_prefix('/')
            .or_else(|| rest.is_empty().then_some(""))?;
        Some(rest.to_owned())
    };
    // Arguments are full paths; those of a descriptor stand in angle brackets behind it.
    let mut quoted = arguments.split('"').skip(1).step_by(2);
    match name {
        "fsync" | "fdatasync" => {
            let (_, path) = arguments.split_once('<')?;
            let (path, _) = path.rsplit_once('>')?;
            Some(Event::Sync(below(path)?))
        }
        "link" | "linkat" => Some(Event::Link(below(quoted.next()?)?, below(quoted.next()?)?)),
        "unlink" | "unlinkat" => Some(Event::Unlink(below(quoted.next()?)?)),
        "mkdir" | "mkdirat" => Some(Event::MakeDirectory(below(quoted.next()?)?)),
        "openat" if arguments.contains("O_CREAT") => Some(Event::Create(below(quoted.next()?)?)),
        "creat" => Some(Event::Create(below(quoted.next()?)?)),
        // The store replaces nothing; a rename into it would be such a thing.
        name if name.starts_with("rename") => {
            assert!(!quoted.any(|path| below(path).is_some()), "{call}");
            None
        }
        _ => None,
    }
}

/// Every object is safe before the commit is linked, and the commit before the program ends.
#[track_caller]
fn assert_ordered(trace: &Trace) -> usize {
    trace.only_links();
    let commits = trace.made("log/");
    let (first, ..) = *commits.first().expect("a commit");
    for (at, staged, key) in trace.made("packs/").iter().chain(&trace.made("index/")) {
        let done = trace.durable(*at, staged, key);
        assert!(done < first, "{key} is named before it is durable");
    }
    trace.directories_last(first);
    trace.directories_last(trace.0.len());
    let mut last = first;
    for (at, staged, key) in &commits {
        last = trace.durable(*at, staged, key);
    }
    last
}

#[test]
fn a_snapshot_is_durable_before_it_is_named() {
    let home = Home::bare();
    home.ok(&["init", "--no-encryption", "--pack-size", "1MiB"]);
    // Several packs, and the deltas and the directories of a second snapshot.
    for seed in 0..2 {
        for file in 0..4 {
            home.write(&format!("data/{file}"), random(seed * 10 + file, 900_000));
        }
        let trace = Trace::of(&home, &["snapshot", "data"]);
        assert!(
            trace.made("packs/").len() >= 3,
            "{:?}",
            trace.made("packs/")
        );
        assert_eq!(trace.made("index/").len(), 1);
        assert_eq!(trace.made("log/").len(), 1);
        assert_ordered(&trace);
    }
    home.ok(&["check", "--read-data"]);
}

#[test]
fn a_collection_deletes_what_a_durable_commit_condemned() {
    let home = Home::bare();
    home.ok(&["init", "--no-encryption", "--pack-size", "1MiB"]);
    for file in 0..4 {
        home.write(&format!("data/{file}"), random(file, 700_000));
    }
    home.ok(&["snapshot", "data"]);
    for file in 1..4 {
        fs::remove_file(home.path(&format!("data/{file}"))).expect("removed");
    }
    home.ok(&["snapshot", "data"]);
    home.ok(&["forget", "--keep-last", "1"]);
    let arguments = ["gc", "--max-unused", "0", "--reader-grace", "0"];
    let trace = Trace::of(&home, &arguments);
    assert!(!trace.made("packs/").is_empty(), "something is copied");
    let commits = trace.made("log/");
    assert_eq!(commits.len(), 2, "condemned, then swept: {commits:?}");
    assert_ordered(&trace);

    let (at, staged, key) = &commits[0];
    let condemned = trace.durable(*at, staged, key);
    let (swept, ..) = commits[1];
    let packs = trace.deleted("packs/");
    let indexes = trace.deleted("index/");
    assert!(
        packs.len() >= 2 && !indexes.is_empty(),
        "{packs:?} {indexes:?}"
    );
    for (at, key) in packs.iter().chain(&indexes) {
        assert!(condemned < *at, "{key} is deleted before that is durable");
        let gone = trace.find(*at, |event| *event == Event::Sync(parent(key)));
        assert!(
            gone.is_some_and(|gone| gone < swept),
            "{key} may come back when it is swept"
        );
    }
    assert!(trace.deleted("log/").is_empty() && trace.deleted("config").is_empty());
    // All that was deleted is in the condemn commit's share: the rest is still whole.
    let deleted: BTreeSet<&String> = packs.iter().map(|(_, key)| key).collect();
    assert_eq!(deleted.len(), packs.len(), "once each");
    home.ok(&["check", "--read-data"]);
}

#[test]
fn a_trace_is_read_as_it_is_meant() {
    let text = "\
7 mkdir(\"/r/packs\", 0777) = 0
7 openat(AT_FDCWD</x>, \"/r/packs/a#1\", O_RDWR|O_CREAT|O_EXCL|O_CLOEXEC, 0666) = 9</r/packs/a#1>
7 fsync(9</r/packs/a#1> <unfinished ...>
8 fsync(8</r>)             = 0
7 <... fsync resumed>)     = 0
8 linkat(AT_FDCWD</x>, \"/r/packs/a#1\", AT_FDCWD</x>, \"/r/packs/a\", 0) = -1 EEXIST (File exists)
8 linkat(AT_FDCWD</x>, \"/r/packs/a#1\", AT_FDCWD</x>, \"/r/packs/a\", 0) = 0
8 unlink(\"/r/packs/a#1\") = 0
8 fsync(9</rest>)          = 0
8 unlink(\"/elsewhere\") = 0
";
    let owned = str::to_owned;
    let wanted = [
        Event::MakeDirectory(owned("packs")),
        Event::Create(owned("packs/a#1")),
        Event::Sync(String::new()),
        Event::Sync(owned("packs/a#1")),
        Event::Link(owned("packs/a#1"), owned("packs/a")),
        Event::Unlink(owned("packs/a#1")),
    ];
    assert_eq!(Trace::parse(text, "/r").0, wanted);
}

#[test]
fn every_sync_that_is_left_out_is_noticed() {
    let owned = str::to_owned;
    let mut events = Vec::new();
    for key in ["packs/0a/0a", "index/1", "log/1"] {
        let staged = format!("{key}#1");
        let holder = parent(key);
        for made in [parent(&holder), holder.clone()] {
            let event = Event::MakeDirectory(made.clone());
            if !made.is_empty() && !events.contains(&event) {
                events.extend([event, Event::Sync(parent(&made))]);
            }
        }
        events.extend([
            Event::Create(staged.clone()),
            Event::Sync(staged.clone()),
            Event::Link(staged.clone(), owned(key)),
            Event::Sync(holder),
            Event::Unlink(staged),
        ]);
    }
    assert_ordered(&Trace(events.clone()));
    let syncs = |event: &Event| matches!(event, Event::Sync(_));
    let mut left_out = 0;
    for at in (0..events.len()).filter(|at| syncs(&events[*at])) {
        let mut fewer = events.clone();
        let sync = fewer.remove(at);
        // The root is synced for each directory in it; the last time does for those before.
        let later = events[at + 1..].contains(&sync);
        let noticed = std::panic::catch_unwind(|| assert_ordered(&Trace(fewer))).is_err();
        assert!(noticed || later, "{sync:?} is not missed");
        left_out += usize::from(noticed);
    }
    assert!(left_out >= 7, "{left_out}");
}
