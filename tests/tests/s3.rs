//! The real binary against a real S3 server: a session, wrong credentials, a server that dies.

use std::io::Write;
use std::process::{Child, Stdio};

use futures::TryStreamExt;
use repo_core::Store;
use repo_testkit::Seaweed;
use repo_testkit::data::{fill_tree, random};
use repo_tests::describe;
use repo_tests::program::{Home, Run};
use repo_tests::server::{Server, pause};

/// Two minutes, in pauses of a tenth of a second.
const PAUSES_MAX: usize = 1200;

/// A home whose repository is at a location of the server.
fn home(server: &Seaweed, prefix: &str) -> Home {
    let mut home = Home::new();
    home.set("REPO_REPOSITORY", server.location(prefix));
    for (name, value) in server.options() {
        home.set(&name.to_ascii_uppercase(), value);
    }
    home
}

fn finish(child: Child) -> Run {
    Run::of(&child.wait_with_output().expect("a run"))
}

#[test]
fn a_session_with_a_server() {
    let server = Seaweed::start().expect("a SeaweedFS server");
    every_command(&server);
    wrong_credentials(&server);
    two_writers(&server);
}

fn every_command(server: &Seaweed) {
    let mut home = home(server, "session/repository");
    home.fails(10, &["snapshots"]);
    home.ok(&["init", "--pack-size", "1MiB"]);
    home.fails(11, &["init"]);
    let source = home.path("data");
    fill_tree(&source, 1, 60).expect("a tree");
    home.write("data/large", random(2, 5 << 20));
    home.ok(&["snapshot", "data"]);
    home.restores("latest", &source);
    let first = describe::tree(&source).expect("the source");

    home.write("data/added", "added");
    home.write("data/large", random(3, 3 << 20));
    home.ok(&["snapshot", "data"]);
    home.restores("latest", &source);
    let snapshots = home.json(&["snapshots"]);
    assert_eq!(snapshots.len(), 2);
    let oldest = snapshots[0]["id"].as_str().expect("an id");
    home.ok(&["restore", oldest, "oldest"]);
    let restored = describe::tree(&home.path("oldest")).expect("the target");
    let differences = describe::differences(&first, &restored);
    assert!(differences.is_empty(), "{differences:#?}");
    assert_eq!(home.ok(&["cat", "latest:added"]), "added");
    home.ok(&["check", "--read-data"]);

    home.set("REPO_NEW_PASSWORD", "second");
    home.ok(&["key", "add"]);
    home.set("REPO_PASSWORD", "second");
    home.ok(&["--no-cache", "check"]);
    let listed = home.json(&["key", "list"]);
    let keys = listed.iter().filter(|one| one["message_type"] == "key");
    assert_eq!(keys.count(), 2);
    home.set("REPO_PASSWORD", "third");
    home.fails(12, &["snapshots"]);
}

fn wrong_credentials(server: &Seaweed) {
    let mut home = home(server, "session/repository");
    home.write("data/file", "x");
    for (name, value) in [
        ("AWS_SECRET_ACCESS_KEY", "not-the-secret"),
        ("AWS_ACCESS_KEY_ID", "nobody"),
    ] {
        home.set(name, value);
        for command in [&["snapshots"][..], &["snapshot", "data"], &["init"]] {
            let line = home.fails(1, command);
            assert!(line.contains("refused"), "{line}");
            assert!(line.contains("s3://"), "{line}");
            assert!(!line.contains("not-the-secret"), "{line}");
        }
    }
}

fn two_writers(server: &Seaweed) {
    let home = home(server, "two-writers");
    home.ok(&["init", "--pack-size", "1MiB"]);
    let names = ["one", "two"];
    for (name, seed) in names.into_iter().zip(0..) {
        fill_tree(&home.path(name), seed, 40).expect("a tree");
        home.write(&format!("{name}/large"), random(seed, 4 << 20));
    }
    let running = names.map(|name| home.repo(&["snapshot", name]).spawn().expect("a start"));
    for child in running {
        assert_eq!(finish(child).expect(0).stderr, "");
    }
    let snapshots = home.json(&["snapshots"]);
    assert_eq!(snapshots.len(), names.len());
    for snapshot in &snapshots {
        let path = snapshot["paths"][0].as_str().expect("a path");
        let id = snapshot["id"].as_str().expect("an id");
        home.restores(id, path.as_ref());
    }
    home.ok(&["check", "--read-data"]);
}

#[test]
fn a_server_killed_during_a_snapshot_costs_that_snapshot_only() {
    let mut server = Server::start().expect("a SeaweedFS server");
    let home = home(server.seaweed(), "killed");
    home.ok(&["init", "--pack-size", "1MiB"]);
    let source = home.path("data");
    fill_tree(&source, 1, 40).expect("a tree");
    home.ok(&["snapshot", "data"]);
    let before = home.json(&["snapshots"]);

    // Fed through a pipe, so that the test decides how far it has come.
    let arguments = ["snapshot", "-", "--option", "retry_timeout_s=3"];
    let mut command = home.repo(&arguments);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("a start");
    let mut pipe = child.stdin.take().expect("a pipe");
    let stored = packs(server.seaweed(), "killed");
    pipe.write_all(&random(7, 12 << 20)).expect("it reads");
    for pauses in 0.. {
        assert!(pauses < PAUSES_MAX, "nothing is stored");
        if packs(server.seaweed(), "killed") > stored {
            break;
        }
        pause();
    }
    server.kill().expect("killed");
    // It may give up before it has read all.
    drop(pipe.write_all(&random(8, 12 << 20)));
    drop(pipe);
    let line = finish(child).expect(1).only_line();
    assert!(line.contains("unavailable"), "{line}");
    assert!(line.contains("s3://"), "{line}");
    let line = home.fails(1, &["snapshots", "--option", "retry_timeout_s=0"]);
    assert!(line.contains("unavailable"), "{line}");

    server.start_again().expect("started again");
    assert_eq!(home.json(&["snapshots"]), before);
    home.ok(&["check", "--read-data"]);
    home.restores("latest", &source);
    home.write("data/added", random(9, 2 << 20));
    home.ok(&["snapshot", "data"]);
    home.restores("latest", &source);
    home.ok(&["check", "--read-data"]);
}

/// Number of packs in the store, whether or not a commit names them.
fn packs(server: &Seaweed, prefix: &str) -> usize {
    let store = Store::open(&server.location(prefix), &server.options()).expect("a store");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let listed = runtime.block_on(async {
        let keys = store.list("packs/", None).await;
        keys.try_collect::<Vec<_>>().await
    });
    listed.expect("a list").len()
}
