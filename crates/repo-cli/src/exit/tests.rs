use super::*;

#[derive(Debug)]
struct Layer(&'static str, Option<Box<Self>>);

impl std::fmt::Display for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl StdError for Layer {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.1.as_deref().map(|layer| layer as _)
    }
}

fn layers(texts: &[&'static str]) -> Layer {
    let (first, rest) = texts.split_first().expect("at least one layer");
    Layer(first, (!rest.is_empty()).then(|| Box::new(layers(rest))))
}

#[test]
fn causes_follow_once_each() {
    for (texts, line) in [
        (&["a"][..], "repo: doing: a"),
        (&["a", "b", "c"], "repo: doing: a: b: c"),
        (
            &["cannot read x: gone", "gone"],
            "repo: doing: cannot read x: gone",
        ),
        (&["a", "a", "b"], "repo: doing: a: b"),
        (
            &["two\n  lines", "tab\there"],
            "repo: doing: two lines: tab here",
        ),
        (&["bell\u{7}"], "repo: doing: bell\\u{7}"),
    ] {
        assert_eq!(Failure::because("doing", &layers(texts)).line(), line);
    }
}

#[test]
fn a_line_has_at_most_one_hint() {
    let failure = Failure::failed("it broke").hint("first").hint("mend\nit");
    assert_eq!(failure.line(), "repo: it broke; hint: mend it");
    let failure = Failure::failed("it broke").context("while trying");
    assert_eq!(failure.line(), "repo: while trying: it broke");
}

#[test]
fn errors_of_the_library_have_their_codes() {
    let location = || "/r".to_owned();
    let io = || io::Error::from(io::ErrorKind::PermissionDenied);
    for (error, exit) in [
        (
            Error::NoRepository {
                location: location(),
            },
            Exit::NoRepository,
        ),
        (
            Error::AlreadyExists {
                location: location(),
            },
            Exit::Conflict,
        ),
        (
            Error::WrongPassword {
                location: location(),
            },
            Exit::WrongPassword,
        ),
        (
            Error::PasswordNeeded {
                location: location(),
            },
            Exit::WrongPassword,
        ),
        (
            Error::NotEncrypted {
                location: location(),
            },
            Exit::Failed,
        ),
        (Error::LostRace { attempts: 3 }, Exit::Conflict),
        (Error::MissingCommit { number: 7 }, Exit::Damage),
        (Error::UnknownSnapshot { id: "ab".into() }, Exit::Failed),
        (Error::Protected { id: "ab".into() }, Exit::Failed),
        (Error::EmptiesGroup { group: "g".into() }, Exit::Failed),
        (Error::Overtaken { why: "w".into() }, Exit::Conflict),
        (Error::Cancelled, Exit::Cancelled),
        (
            Error::Io {
                operation: "open",
                path: "/x".into(),
                source: io(),
            },
            Exit::Failed,
        ),
    ] {
        assert_eq!(Failure::from(error).exit, exit);
    }
}

#[test]
fn the_help_names_every_code() {
    for exit in [
        Exit::Ok,
        Exit::Failed,
        Exit::Usage,
        Exit::Partly,
        Exit::NoRepository,
        Exit::Conflict,
        Exit::WrongPassword,
        Exit::Damage,
        Exit::Cancelled,
        Exit::StopRecovery,
    ] {
        let number = format!(" {}  ", exit as u8);
        assert!(EXIT_CODES_HELP.contains(&number), "{exit:?}");
    }
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let closed = io::Error::from(io::ErrorKind::BrokenPipe);
    assert_eq!(Failure::output(&closed), Failure::output_closed());
    let full = Failure::output(&io::Error::from(io::ErrorKind::StorageFull));
    assert_eq!(full.exit, Exit::Failed);
    assert!(
        full.message
            .starts_with("cannot write to standard output: ")
    );
}
