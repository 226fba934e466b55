//! Lost answers, torn puts, servers gone: what a caller is told, and when it is told at all.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::memory::InMemory;
use repo_format::ErrorKind;
use repo_store::{Put, Store};
use repo_testkit::{FaultStore, Seaweed, Verb, damage};

const RETRY: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_lost_answer_of_a_put_is_not_a_conflict() {
    for k in 0..2 {
        let faults = FaultStore::new(Arc::new(InMemory::new()), u64::MAX).losing_answer(k);
        let store = Store::new(Arc::new(faults.clone()), "faulty").with_retry(RETRY);
        let put = store.put_new("log/1", "mine".into()).await.unwrap();
        let expected = if k == 0 {
            Put::AlreadyThere
        } else {
            Put::Created
        };
        assert_eq!(put, expected);
        assert_eq!(store.get("log/1", 4).await.unwrap(), "mine");
    }
}

#[tokio::test]
async fn without_retry_a_fault_is_unavailable_at_once() {
    let faults = FaultStore::new(Arc::new(InMemory::new()), 0);
    let store = Store::new(Arc::new(faults.clone()), "faulty");
    let error = store.put_new("log/1", "x".into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(faults.recording().total(), 1);
    faults.heal();
    store.put_new("log/1", "x".into()).await.unwrap();
}

#[tokio::test]
async fn a_torn_put_is_a_conflict_and_never_a_success() {
    let memory = Arc::new(InMemory::new());
    let faults = FaultStore::new(Arc::<InMemory>::clone(&memory), u64::MAX).tearing_put(0);
    let store = Store::new(Arc::new(faults), "faulty").with_retry(RETRY);
    let error = store.put_new("log/1", "whole".into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(damage::read(&*memory, "log/1").await.unwrap(), "wh");
}

#[tokio::test]
async fn a_listing_goes_on_behind_the_last_key() {
    let memory = Arc::new(InMemory::new());
    for n in 0..10 {
        let key = format!("log/{n}");
        damage::write(&*memory, &key, Bytes::from_static(b"x"))
            .await
            .unwrap();
    }
    for k in 0..2 {
        let faults = FaultStore::new(Arc::<InMemory>::clone(&memory), u64::MAX).losing_answer(k);
        let store = Store::new(Arc::new(faults.clone()), "faulty").with_retry(RETRY);
        let found: Vec<_> = store.list("log", None).await.try_collect().await.unwrap();
        assert_eq!(found.len(), 10);
        assert_eq!(faults.count(Verb::List), 2 - usize::try_from(k).unwrap());
    }
}

/// A busy server: the caller is told what it said, not only that time is up.
#[tokio::test]
async fn a_busy_server_is_asked_again_and_quoted() {
    let (port, asked) = answering_server("HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n");
    let store = Store::open("s3://bucket/x", &options(port, "2")).unwrap();
    let error = store.put_new("config", "x".into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(format!("{error:?}").contains("503"), "{error:?}");
    let asked = asked.load(Ordering::SeqCst);
    assert!((4..=30).contains(&asked), "{asked} requests");
}

/// The clock is paused and jumps to the next timer whenever nothing else is to be done.
#[tokio::test(start_paused = true)]
async fn a_silent_server_ends_in_an_error() {
    let (port, _) = answering_server("");
    let store = Store::open("s3://bucket/x", &options(port, "100")).unwrap();
    let error = store.get("config", 10).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(
        format!("{error:?}").contains("no answer within 30 s"),
        "{error:?}"
    );
    let error = store.put_new("config", "x".into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    let error = store.list("log", None).await.try_next().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
}

#[tokio::test]
async fn a_server_that_dies_is_an_error_and_not_a_hang() {
    let server = Seaweed::start().unwrap();
    let mut options = server.options();
    options.push(("retry_timeout_s".to_owned(), "1".to_owned()));
    let store = Store::open(&server.location("dying"), &options).unwrap();
    store.put_new("config", "x".into()).await.unwrap();
    drop(server);
    let error = store.put_new("log/1", "x".into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    let error = store.get("config", 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
}

#[tokio::test]
async fn a_refused_connection_is_unavailable_and_says_why() {
    let store = Store::open("s3://bucket/x", &options(1, "0")).unwrap();
    let error = store.head("config").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("onnection refused"), "{cause}");
    assert!(!cause.contains('\n'), "{cause}");
}

fn options(port: u16, retry_timeout_s: &str) -> Vec<(String, String)> {
    let endpoint = format!("http://127.0.0.1:{port}");
    [
        ("aws_endpoint", endpoint.as_str()),
        ("aws_access_key_id", "a"),
        ("aws_secret_access_key", "b"),
        ("allow_http", "true"),
        ("retry_timeout_s", retry_timeout_s),
        // A paused clock must not run past it while a real connection is made.
        ("connect_timeout", "1 day"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .to_vec()
}

/// A server that says the same to whatever comes, or nothing; and how often it was asked.
fn answering_server(answer: &'static str) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let count = Arc::clone(&count);
            std::thread::spawn(move || {
                let mut buffer = [0; 64 * 1024];
                while stream.read(&mut buffer).is_ok_and(|n| n > 0) {
                    if !answer.is_empty() {
                        count.fetch_add(1, Ordering::SeqCst);
                        if stream.write_all(answer.as_bytes()).is_err() {
                            break;
                        }
                    }
                }
            });
        }
    });
    (port, asked)
}
