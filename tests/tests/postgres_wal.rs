//! WAL of real servers: archived, fetched back, replayed to a point, and what is refused.

use std::fs;
use std::time::Duration;

use repo_testkit::data::Random;
use repo_tests::moment::wait;
use repo_tests::postgres::{Programs, Server};
use repo_tests::program::text;
use repo_tests::server::pause;
use repo_tests::site::{Site, dsn, wait_until};

/// What the restored servers are asked.
const ROWS: &str = "select string_agg(a::text, ',' order by a) from t";

/// Ends the segment and waits until it is archived.
#[track_caller]
fn archived(server: &Server<'_>) {
    let segment = server.sql("select pg_walfile_name(pg_create_restore_point('archived'))");
    server.sql("select pg_switch_wal()");
    let done =
        format!("select coalesce(last_archived_wal >= '{segment}', false) from pg_stat_archiver");
    wait_until(&format!("{segment} is archived"), || {
        server.sql(&done) == "t"
    });
}

/// Restores a snapshot with recovery options, starts it and waits until it is a primary.
#[track_caller]
fn recovered<'s>(site: &'s Site, snapshot: &str, name: &str, options: &[&str]) -> Server<'s> {
    let target = site.place.path(name);
    let arguments = ["pg", "restore", snapshot, text(&target)];
    site.ok(&[&arguments[..], options].concat());
    let server = site.place.start(&target);
    wait_until("recovery ends", || {
        server.sql("select pg_is_in_recovery()") == "f"
    });
    server
}

#[test]
fn recovery_stops_where_it_is_told() {
    for programs in Programs::all() {
        let site = Site::new(&programs);
        let server = site.archiving("data");
        server.sql("create table t(a int)");
        let snapshot = site.saved(server.data());
        let first = server.sql("insert into t values (1) returning pg_current_xact_id()");
        // Times of commits are compared with it.
        pause();
        let time = server.sql("select clock_timestamp()");
        let lsn = server.sql("select pg_current_wal_insert_lsn()");
        server.sql("select pg_create_restore_point('between')");
        pause();
        server.sql("insert into t values (2)");
        archived(&server);
        drop(server);

        let promote = ["--target-action", "promote"];
        let by_time = recovered(
            &site,
            &snapshot,
            "by-time",
            &[&["--target-time", &time], &promote[..]].concat(),
        );
        assert_eq!(by_time.sql(ROWS), "1");
        // It archives on a timeline of its own, which a recovery without a target follows.
        by_time.sql("insert into t values (3)");
        archived(&by_time);
        drop(by_time);
        let latest = recovered(&site, &snapshot, "latest", &["--target-latest"]);
        assert_eq!(latest.sql(ROWS), "1,3");
        archived(&latest);
        drop(latest);

        let current = ["--target-timeline", "current"];
        for (option, value) in [
            ("--target-lsn", lsn.as_str()),
            ("--target-xid", &first),
            ("--target-name", "between"),
        ] {
            let options = [&[option, value], &promote[..], &current].concat();
            let server = recovered(&site, &snapshot, option, &options);
            assert_eq!(server.sql(ROWS), "1", "{option} {value}");
        }
        let old = recovered(
            &site,
            &snapshot,
            "old",
            &["--target-latest", "--target-timeline", "current"],
        );
        assert_eq!(old.sql(ROWS), "1,2", "the first timeline is whole");
        let known = site.json(&["pg", "info"]);
        let timelines: Vec<u64> = known
            .iter()
            .filter(|message| message["message_type"] == "pg_wal")
            .map(|message| message["timeline"].as_u64().expect("a number"))
            .collect();
        assert!(timelines.starts_with(&[1, 2, 3]), "{known:?}");
    }
}

#[test]
fn a_killed_archiver_loses_no_segment() {
    let site = Site::new(&Programs::installed());
    let server = site.archiving_with("data", "wal_keep_size = 1GB\n");
    server.sql("create table t(a text)");
    let first = server.sql("select pg_walfile_name(pg_current_wal_lsn())");
    let (mut random, mut killed) = (Random::new(0x2545_F491), 0);
    for round in 0.. {
        // A segment and more of it, so that several wait when a push begins.
        server.sql("insert into t select repeat(md5(i::text), 50) from generate_series(1, 900) i");
        server.sql("select pg_switch_wal()");
        wait(Duration::from_millis(random.next_u64() & 0xFF));
        killed += site.kill("archive-push");
        if killed >= 12 && round >= 30 {
            break;
        }
        assert!(round < 300, "only {killed} pushes were met");
    }
    archived(&server);
    site.ok(&["pg", "check", "--dsn", &dsn(&server), "--timeout", "60"]);

    let known = site.json(&["pg", "info"]);
    assert_eq!(known.len(), 1, "one timeline: {known:?}");
    let ranges = known[0]["ranges"].as_array().expect("ranges");
    assert_eq!(ranges.len(), 1, "no gap: {known:?}");
    let begins = ranges[0]["first"].as_str().expect("a name");
    assert!(begins <= first.as_str(), "{begins} {first}");
    let last = ranges[0]["last"].as_str().expect("a name");
    let mut compared = 0;
    for entry in fs::read_dir(server.data().join("pg_wal")).expect("WAL") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_str().expect("text");
        if name.len() == 24 && name <= last {
            assert!(
                site.fetch(server.data(), name) == fs::read(&path).expect("a segment"),
                "{name}"
            );
            compared += 1;
        }
    }
    assert!(compared >= 30, "{compared}");
    // A name has one content in all snapshots of WAL, and each snapshot has it once.
    let check = site.json(&["check", "--read-data"]);
    assert_eq!(
        check.last().expect("a summary")["findings"]
            .as_u64()
            .unwrap_or(0),
        0,
        "{check:?}"
    );
}

#[test]
fn a_clone_on_the_same_timeline_is_refused() {
    let site = Site::new(&Programs::installed());
    let server = site.archiving("data");
    server.sql("create table t(a int)");
    let snapshot = site.saved(server.data());
    server.sql("insert into t values (1)");
    archived(&server);
    site.ok(&["pg", "check", "--dsn", &dsn(&server)]);

    let target = site.place.path("clone");
    site.ok(&["pg", "restore", &snapshot, text(&target)]);
    let clone = site.place.start(&target);
    clone.sql("insert into t values (7)");
    clone.sql("select pg_switch_wal()");
    wait_until("the clone is refused", || {
        clone.sql("select failed_count > 0 from pg_stat_archiver") == "t"
    });
    assert!(
        site.place.log().contains("with other content"),
        "{}",
        site.place.log()
    );
    // Also where the archive has a segment of that name already, of the other.
    let line = site.fails(1, &["pg", "check", "--dsn", &dsn(&clone)]);
    assert!(
        line.starts_with("archiving does not work: the repository holds")
            || line.starts_with("archiving does not work: archive_command fails for"),
        "{line}"
    );
    drop(clone);
    drop(server);
    let right = recovered(&site, &snapshot, "right", &["--target-latest"]);
    assert_eq!(right.sql(ROWS), "1", "the archive is of the first server");
}

#[test]
fn a_check_finds_gaps_and_what_does_not_archive() {
    let site = Site::new(&Programs::installed());
    let server = site.archiving("data");
    server.sql("create table t(a int)");
    archived(&server);
    site.ok(&["pg", "check", "--dsn", &dsn(&server)]);
    let command = server.sql("show archive_command");
    let set = |command: &str| {
        server.sql(&format!("alter system set archive_command = '{command}'"));
        server.sql("select pg_reload_conf()");
        wait_until("the setting is read", || {
            server.sql("show archive_command") == command
        });
    };
    set("");
    let line = site.fails(1, &["pg", "check", "--dsn", &dsn(&server)]);
    assert!(line.contains("archive_command is empty"), "{line}");
    // A command that says what is not so loses a segment.
    set("true");
    let lost = server.sql("select pg_walfile_name(pg_current_wal_lsn())");
    let line = site.fails(1, &["pg", "check", "--dsn", &dsn(&server)]);
    assert!(line.contains("it is not in this repository"), "{line}");
    archived(&server);
    set(&command);
    archived(&server);
    let run = site.run(&["pg", "check", "--dsn", &dsn(&server)]).expect(3);
    assert!(
        run.stdout
            .contains(&format!("missing on timeline 1: {lost} to ")),
        "{run:?}"
    );
    let known = site.json(&["pg", "info"]);
    assert_eq!(known[0]["gaps"][0]["first"], lost.as_str(), "{known:?}");
    assert!(site.ok(&["pg", "info"]).contains("missing"));
}

#[test]
fn wal_stays_while_a_kept_snapshot_needs_it() {
    let site = Site::new(&Programs::installed());
    let mut server = site.archiving("data");
    server.sql("create table t(a int)");
    let first = site.saved(server.data());
    server.sql("insert into t values (1)");
    archived(&server);
    // Far on in the log, so that what was archived is a volume of its own.
    let data = server.data().to_owned();
    site.shut_down(&mut server);
    site.place.run(
        "pg_resetwal",
        &["-l", "000000010000000500000001", text(&data)],
    );
    server.run_again();
    let second = site.saved(server.data());
    server.sql("insert into t values (2)");
    archived(&server);
    drop(server);
    let volumes = || {
        let known = site.json(&["snapshots"]);
        let of = |message: &serde_json::Value| message["paths"][0].to_string().contains("/wal/");
        known.iter().filter(|message| of(message)).count()
    };
    let all = volumes();
    assert!(all >= 2, "{all}");
    site.ok(&["forget", "--keep-last", "2"]);
    assert_eq!(volumes(), all, "the first snapshot is kept");
    site.ok(&["forget", "--dry-run", &first]);
    assert_eq!(volumes(), all, "nothing is done");
    site.ok(&["forget", "--keep-last", "1"]);
    let left = volumes();
    assert!(left < all, "{left} {all}");
    let known = site.json(&["pg", "info"]);
    let ranges = &known.last().expect("WAL")["ranges"];
    assert_eq!(ranges.as_array().expect("ranges").len(), 1, "{known:?}");
    assert_eq!(
        ranges[0]["first"].as_str().expect("a name").get(8..16),
        Some("00000005")
    );
    let right = recovered(&site, &second, "right", &["--target-latest"]);
    assert_eq!(right.sql(ROWS), "1,2");
}

/// Passwords in the three ways that servers ask for them.
#[test]
fn sessions_are_opened_with_passwords() {
    let site = Site::new(&Programs::installed());
    let data = site.place.init("data", true);
    let mut server = site.place.start(&data);
    let roles = [("p", "password"), ("m", "md5"), ("s", "scram-sha-256")];
    let mut rules = String::new();
    for (role, method) in roles {
        let stored = if method == "md5" {
            "md5"
        } else {
            "scram-sha-256"
        };
        server.sql(&format!(
            "set password_encryption = '{stored}'; create role {role} login superuser password 'secret {role}'"
        ));
        rules.push_str(&format!("local all {role} {method}\n"));
    }
    server.stop();
    fs::write(data.join("pg_hba.conf"), rules + "local all all trust\n").expect("rules");
    server.run_again();
    let host = server.options()[1];
    let asked = |role: &str, password: &str| {
        let dsn = format!("host={host} user={role} password='{password}'");
        site.fails(1, &["pg", "check", "--dsn", &dsn])
    };
    for (role, _) in roles {
        let right = asked(role, &format!("secret {role}"));
        assert!(right.contains("archive_mode is off"), "{role}: {right}");
        let wrong = asked(role, "wrong");
        assert!(
            wrong.contains("password authentication failed"),
            "{role}: {wrong}"
        );
    }
    let none = site.fails(1, &["pg", "check", "--dsn", &format!("host={host} user=s")]);
    assert!(none.contains("the server wants a password of s"), "{none}");
    let nowhere = site.fails(1, &["pg", "check", "--dsn", "host=/nowhere user=s"]);
    assert!(
        nowhere.contains("cannot connect to /nowhere/.s.PGSQL.5432"),
        "{nowhere}"
    );
}
