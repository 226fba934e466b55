use std::io;
use std::sync::Arc;

use object_store::Error as Theirs;
use repo_format::ErrorKind;

use super::{Context, Error, Operation};

fn sorted(operation: Operation, source: Theirs) -> Error {
    let location: Arc<str> = Arc::from("s3://bucket/x");
    let context = Context {
        operation,
        key: "log/1",
        location: &location,
    };
    context.classify(source)
}

fn http(status: &str) -> Theirs {
    Theirs::Generic {
        store: "S3",
        source: format!(
            "Error performing PUT http://h/ in 1ms - Server returned non-2xx status code: {status}"
        )
        .into(),
    }
}

fn local(kind: io::ErrorKind) -> Theirs {
    Theirs::Generic {
        store: "LocalFileSystem",
        source: Box::new(io::Error::from(kind)),
    }
}

#[test]
fn http_answers_have_the_kind_a_caller_acts_on() {
    for (status, kind) in [
        ("500 Internal Server Error: ", ErrorKind::Unavailable),
        ("503 Slow Down: ", ErrorKind::Unavailable),
        ("429 Too Many: ", ErrorKind::Unavailable),
        ("400 Bad Request: ", ErrorKind::Denied),
        ("403 Forbidden: ", ErrorKind::Denied),
        ("501 Not Implemented: ", ErrorKind::Unsupported),
        ("507 Insufficient Storage: ", ErrorKind::Denied),
        ("412 Precondition Failed: ", ErrorKind::Conflict),
    ] {
        assert_eq!(
            sorted(Operation::Write, http(status)).kind(),
            kind,
            "{status}"
        );
    }
    assert!(matches!(
        sorted(Operation::Write, http("404 x: ")),
        Error::BucketNotFound { .. }
    ));
    assert!(matches!(
        sorted(Operation::Read, http("404 x: ")),
        Error::NotFound { .. }
    ));
    let body = "404 x: <?xml version=\"1.0\"?>\n<Error><Code>NoSuchBucket</Code><Message>gone\n</Message></Error>";
    let error = sorted(Operation::Read, http(body));
    assert!(matches!(error, Error::BucketNotFound { .. }));
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.ends_with("404 x: NoSuchBucket: gone"), "{source}");
}

#[test]
fn system_errors_keep_their_meaning() {
    use io::ErrorKind as Kind;
    for (system, kind) in [
        (Kind::StorageFull, ErrorKind::Denied),
        (Kind::ReadOnlyFilesystem, ErrorKind::Denied),
        (Kind::PermissionDenied, ErrorKind::Denied),
        (Kind::StaleNetworkFileHandle, ErrorKind::Unavailable),
        (Kind::InvalidData, ErrorKind::Internal),
    ] {
        assert_eq!(
            sorted(Operation::Write, local(system)).kind(),
            kind,
            "{system}"
        );
    }
    assert!(matches!(
        sorted(Operation::Write, local(Kind::StorageFull)),
        Error::Full { .. }
    ));
    assert!(matches!(
        sorted(Operation::Read, local(Kind::NotADirectory)),
        Error::NotFound { .. }
    ));
    assert!(matches!(
        sorted(Operation::Write, local(Kind::NotADirectory)),
        Error::Io { .. }
    ));
}

#[test]
fn a_delete_that_conflicts_is_refused() {
    let held = Theirs::AlreadyExists {
        path: "x".to_owned(),
        source: "BlobImmutableDueToPolicy".into(),
    };
    assert_eq!(sorted(Operation::Delete, held).kind(), ErrorKind::Denied);
}

#[test]
fn a_message_names_key_and_place_and_nothing_else() {
    let error = sorted(Operation::Write, http("503 Slow Down: "));
    assert_eq!(
        error.to_string(),
        "cannot write log/1: s3://bucket/x is unavailable"
    );
}
